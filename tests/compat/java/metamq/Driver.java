// A producer and a consumer of MetaMQ: `java Driver HOST:PORT,...` takes lines and answers each with one line.
//   produce TOPIC FROM TO -> OK           (one message for each number, sent again until a broker has it)
//   consume TOPIC TO      -> CONSUMED N   (returns when every number below TO was seen; N messages so far, repeats included)

import com.taobao.metamorphosis.Message;
import com.taobao.metamorphosis.client.MessageSessionFactory;
import com.taobao.metamorphosis.client.MetaClientConfig;
import com.taobao.metamorphosis.client.MetaMessageSessionFactory;
import com.taobao.metamorphosis.client.consumer.ConsumerConfig;
import com.taobao.metamorphosis.client.consumer.MessageConsumer;
import com.taobao.metamorphosis.client.consumer.MessageListener;
import com.taobao.metamorphosis.client.producer.MessageProducer;
import com.taobao.metamorphosis.exception.MetaClientException;
import com.taobao.metamorphosis.utils.ZkUtils.ZKConfig;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.Executor;

public final class Driver {
    private static final long DONE_MS = 60_000;

    private final MessageSessionFactory sessions;
    private final MessageProducer producer;
    private final Set<Integer> seen = new HashSet<>();
    private int messages;
    private MessageConsumer consumer;

    private Driver(String servers) throws MetaClientException {
        ZKConfig zookeeper = new ZKConfig();
        zookeeper.zkConnect = servers;
        zookeeper.zkRoot = "/meta";
        zookeeper.zkSessionTimeoutMs = 6000;
        MetaClientConfig config = new MetaClientConfig();
        config.setZkConfig(zookeeper);
        sessions = new MetaMessageSessionFactory(config);
        producer = sessions.createProducer();
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            try {
                if (words[0].equals("produce")) {
                    System.out.println(driver.produce(words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3])));
                } else {
                    System.out.println(driver.consume(words[1], Integer.parseInt(words[2])));
                }
            } catch (Exception error) {
                error.printStackTrace();
                System.out.println("ERROR " + error);
            }
        }
        System.exit(0);
    }

    private String produce(String topic, int from, int to) throws Exception {
        producer.publish(topic);
        long ends = System.currentTimeMillis() + DONE_MS;
        int next = from;
        while (next < to) {
            if (System.currentTimeMillis() > ends) {
                return "ERROR " + next + " is not sent";
            }
            try {
                if (producer.sendMessage(new Message(topic, Integer.toString(next).getBytes(StandardCharsets.UTF_8))).isSuccess()) {
                    next++;
                }
            } catch (MetaClientException notNow) {
                Thread.sleep(100);
            }
        }
        return "OK";
    }

    private String consume(String topic, int to) throws Exception {
        if (consumer == null) {
            ConsumerConfig config = new ConsumerConfig("readers");
            config.setMaxDelayFetchTimeInMills(100);
            config.setOffset(0);
            consumer = sessions.createConsumer(config);
            consumer.subscribe(topic, 1 << 20, new MessageListener() {
                @Override
                public void recieveMessages(Message message) {
                    synchronized (seen) {
                        seen.add(Integer.parseInt(new String(message.getData(), StandardCharsets.UTF_8)));
                        messages++;
                        seen.notifyAll();
                    }
                }

                @Override
                public Executor getExecutor() {
                    return null;
                }
            }).completeSubscribe();
        }
        long ends = System.currentTimeMillis() + DONE_MS;
        synchronized (seen) {
            while (seen.size() < to) {
                long left = ends - System.currentTimeMillis();
                if (left <= 0) {
                    return "ERROR " + seen.size() + " of " + to + " were seen";
                }
                seen.wait(left);
            }
            return "CONSUMED " + messages;
        }
    }
}
