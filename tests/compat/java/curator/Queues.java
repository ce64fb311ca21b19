// What is handed over: DistributedQueue, DistributedPriorityQueue, DistributedDelayQueue and SimpleDistributedQueue.

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

final class Queues {
    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return Judge.bytes(item);
        }

        @Override
        public String deserialize(byte[] bytes) {
            return Judge.text(bytes);
        }
    };

    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("DistributedQueue", Queues::queue);
        recipes.put("DistributedPriorityQueue", Queues::priorityQueue);
        recipes.put("DistributedDelayQueue", Queues::delayQueue);
        recipes.put("SimpleDistributedQueue", Queues::simpleQueue);
    }

    private static QueueConsumer<String> into(BlockingQueue<String> taken) {
        return new QueueConsumer<>() {
            @Override
            public void consumeMessage(String item) {
                taken.add(item);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {
            }
        };
    }

    private static List<String> take(BlockingQueue<String> queue, int count) throws Exception {
        List<String> taken = new ArrayList<>();
        while (taken.size() < count) {
            String item = queue.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS);
            Judge.require(item != null, "item " + taken.size() + " of " + count + " arrives after " + taken);
            taken.add(item);
        }
        return taken;
    }

    /** One puts, another takes, with a lock so that none is lost; each item once, in order. */
    private static void queue(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        BlockingQueue<String> taken = new LinkedBlockingQueue<>();
        DistributedQueue<String> in = QueueBuilder.builder(one, null, TEXT, base + "/items").buildQueue();
        DistributedQueue<String> out =
            QueueBuilder.builder(two, into(taken), TEXT, base + "/items").lockPath(base + "/lock").buildQueue();
        in.start();
        out.start();
        List<String> items = new ArrayList<>();
        for (int n = 0; n < 20; n++) {
            items.add("item-" + n);
            in.put("item-" + n);
        }
        Judge.require(in.flushPuts(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "all is put");
        List<String> found = take(taken, items.size());
        found.sort(java.util.Comparator.comparingInt(item -> Integer.parseInt(item.substring(5))));
        Judge.same(items, found, "what was taken");
        in.close();
        out.close();
        one.close();
        two.close();
    }

    private static void priorityQueue(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        BlockingQueue<String> taken = new LinkedBlockingQueue<>();
        DistributedPriorityQueue<String> in = QueueBuilder.builder(one, null, TEXT, base).buildPriorityQueue(1);
        in.start();
        for (int n = 0; n < 10; n++) {
            in.put("item-" + n, 10 - n);
        }
        Judge.require(in.flushPuts(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "all is put");
        Judge.sync(two);
        DistributedPriorityQueue<String> out = QueueBuilder.builder(two, into(taken), TEXT, base).buildPriorityQueue(1);
        out.start();
        Judge.same("item-9", take(taken, 10).get(0), "the first taken");
        in.close();
        out.close();
        one.close();
        two.close();
    }

    private static void delayQueue(String base) throws Exception {
        CuratorFramework one = Judge.client();
        BlockingQueue<String> taken = new LinkedBlockingQueue<>();
        DistributedDelayQueue<String> queue = QueueBuilder.builder(one, into(taken), TEXT, base).buildDelayQueue();
        queue.start();
        long due = System.currentTimeMillis() + 700;
        queue.put("late", due + 300);
        queue.put("soon", due);
        Judge.same(List.of("soon", "late"), take(taken, 2), "what was taken");
        Judge.require(System.currentTimeMillis() >= due + 300, "nothing comes before its time");
        queue.close();
        one.close();
    }

    private static void simpleQueue(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        SimpleDistributedQueue in = new SimpleDistributedQueue(one, base);
        SimpleDistributedQueue out = new SimpleDistributedQueue(two, base);
        Judge.require(out.poll() == null, "an empty queue gives nothing");
        in.offer(Judge.bytes("a"));
        in.offer(Judge.bytes("b"));
        Judge.sync(two);
        Judge.same("a", Judge.text(out.peek()), "the first");
        Judge.same("a", Judge.text(out.poll()), "the first taken");
        Judge.same("b", Judge.text(out.take()), "the second taken");
        ExecutorService threads = Executors.newFixedThreadPool(1);
        Future<byte[]> waiting = threads.submit(() -> out.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS));
        in.offer(Judge.bytes("c"));
        Judge.same("c", Judge.text(waiting.get()), "what was waited for");
        threads.shutdown();
        one.close();
        two.close();
    }

    private Queues() {
    }
}
