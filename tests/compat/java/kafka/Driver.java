// What a test does with Kafka: `java Driver HOST:PORT,...` takes lines and answers each with one line, OK or what was asked.
//   brokers             -> BROKERS 1,2
//   controller          -> CONTROLLER 1
//   create T PARTS REPL -> OK
//   topics              -> TOPICS T U
//   delete T            -> OK
//   retain T MS         -> OK           (sets retention.ms of the topic)
//   retention T         -> RETENTION MS
//   insync T            -> INSYNC 8     (in-sync replicas of all partitions together)
//   produce T FROM TO   -> OK           (one record for each number, each acknowledged by all replicas in sync)
//   consume T GROUP TO  -> CONSUMED N   (reads on until every number below TO was seen; N records, repeats included)
// What fails answers ERROR and why.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;

public final class Driver {
    private static final long CONSUME_MS = 60_000;

    private final String servers;
    private final Admin admin;
    private final KafkaProducer<Integer, Integer> producer;
    private final Map<String, KafkaConsumer<Integer, Integer>> consumers = new HashMap<>();
    private final Map<String, Set<Integer>> seen = new HashMap<>();

    private Driver(String servers) {
        this.servers = servers;
        admin = Admin.create(Map.of("bootstrap.servers", servers, "default.api.timeout.ms", "20000", "request.timeout.ms", "5000"));
        producer = new KafkaProducer<>(Map.of("bootstrap.servers", servers, "acks", "all", "delivery.timeout.ms", "60000",
            "request.timeout.ms", "5000", "max.block.ms", "60000"), new IntegerSerializer(), new IntegerSerializer());
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        System.out.println("READY");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            try {
                System.out.println(driver.answer(words));
            } catch (Exception error) {
                error.printStackTrace();
                System.out.println("ERROR " + error);
            }
        }
        System.exit(0);
    }

    private String answer(String[] words) throws Exception {
        switch (words[0]) {
            case "brokers":
                return "BROKERS " + admin.describeCluster().nodes().get().stream().map(node -> node.idString()).sorted()
                    .collect(Collectors.joining(","));
            case "controller":
                return "CONTROLLER " + admin.describeCluster().controller().get().idString();
            case "create":
                admin.createTopics(List.of(new NewTopic(words[1], Integer.parseInt(words[2]), Short.parseShort(words[3])))).all().get();
                return "OK";
            case "topics":
                return "TOPICS " + admin.listTopics().names().get().stream().sorted().collect(Collectors.joining(" "));
            case "delete":
                admin.deleteTopics(List.of(words[1])).all().get();
                return "OK";
            case "retain":
                AlterConfigOp set = new AlterConfigOp(new ConfigEntry("retention.ms", words[2]), AlterConfigOp.OpType.SET);
                admin.incrementalAlterConfigs(Map.of(topic(words[1]), List.of(set))).all().get();
                return "OK";
            case "retention":
                return "RETENTION " + admin.describeConfigs(List.of(topic(words[1]))).all().get().get(topic(words[1]))
                    .get("retention.ms").value();
            case "insync":
                return "INSYNC " + admin.describeTopics(List.of(words[1])).allTopicNames().get().get(words[1]).partitions().stream()
                    .mapToInt(partition -> partition.isr().size()).sum();
            case "produce":
                return produce(words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            case "consume":
                return consume(words[1], words[2], Integer.parseInt(words[3]));
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static ConfigResource topic(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    private String produce(String topic, int from, int to) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int n = from; n < to; n++) {
            sent.add(producer.send(new ProducerRecord<>(topic, n, n)));
        }
        producer.flush();
        for (Future<RecordMetadata> each : sent) {
            each.get();
        }
        return "OK";
    }

    private String consume(String topic, String group, int to) {
        String key = topic + " " + group;
        KafkaConsumer<Integer, Integer> consumer = consumers.computeIfAbsent(key, any -> {
            KafkaConsumer<Integer, Integer> fresh = new KafkaConsumer<>(Map.of("bootstrap.servers", servers, "group.id", group,
                "auto.offset.reset", "earliest", "session.timeout.ms", "6000", "request.timeout.ms", "5000", "default.api.timeout.ms", "20000"),
                new IntegerDeserializer(), new IntegerDeserializer());
            fresh.subscribe(List.of(topic));
            return fresh;
        });
        Set<Integer> numbers = seen.computeIfAbsent(key, any -> new TreeSet<>());
        int records = 0;
        long ends = System.currentTimeMillis() + CONSUME_MS;
        while (numbers.size() < to) {
            if (System.currentTimeMillis() > ends) {
                return "ERROR " + numbers.size() + " of " + to + " numbers were seen";
            }
            for (ConsumerRecord<Integer, Integer> record : consumer.poll(Duration.ofMillis(200))) {
                numbers.add(record.value());
                records++;
            }
        }
        consumer.commitSync();
        return Collections.max(((TreeSet<Integer>) numbers)) < to ? "CONSUMED " + records : "ERROR a number that was never sent";
    }
}
