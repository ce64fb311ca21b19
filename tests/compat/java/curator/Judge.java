// Curator's recipes against the servers of a connect string: `java Judge HOST:PORT,...` prints one line for each,
// "PASS name" or "FAIL name: why", and ends with status 0 when all passed. With -Dround=N it can run again on the same servers.
//
// Rules: every recipe uses znodes of its own below /curator-NAME and at least two clients, because a recipe is an agreement
// between clients. Nothing sleeps: every wait is for a condition and has an end. A client that reads at once what another
// wrote syncs first. Recipes run side by side.

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;

public final class Judge {
    static final int SESSION_MS = 10_000;
    static final long WAIT_MS = 20_000;
    static final long RECIPE_MS = 60_000;
    static final int AT_ONCE = 8;

    static String connectString;

    interface Recipe {
        void run(String base) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        connectString = arguments[0];
        Map<String, Recipe> recipes = new LinkedHashMap<>();
        Leaders.list(recipes);
        Locks.list(recipes);
        Counters.list(recipes);
        Queues.list(recipes);
        Caches.list(recipes);
        Nodes.list(recipes);
        Framework.list(recipes);
        if (arguments.length > 1) {
            recipes.keySet().retainAll(List.of(arguments).subList(1, arguments.length));
        }
        ExecutorService runners = Executors.newFixedThreadPool(AT_ONCE);
        List<Future<Boolean>> outcomes = new ArrayList<>();
        recipes.forEach((name, recipe) -> outcomes.add(runners.submit(() -> judge(name, recipe))));
        boolean passed = true;
        for (Future<Boolean> outcome : outcomes) {
            passed &= outcome.get();
        }
        System.exit(passed ? 0 : 1);
    }

    private static boolean judge(String name, Recipe recipe) {
        long began = System.nanoTime();
        ExecutorService own = Executors.newCachedThreadPool();
        String outcome;
        try {
            own.submit(() -> {
                recipe.run("/curator-" + name + System.getProperty("round", ""));
                return null;
            }).get(RECIPE_MS, TimeUnit.MILLISECONDS);
            outcome = "PASS " + name;
        } catch (ExecutionException error) {
            error.getCause().printStackTrace();
            outcome = "FAIL " + name + ": " + error.getCause();
        } catch (InterruptedException | TimeoutException late) {
            outcome = "FAIL " + name + ": no end within " + RECIPE_MS + " ms";
        }
        own.shutdownNow();
        System.out.println(outcome + " (" + (System.nanoTime() - began) / 1_000_000 + " ms)");
        return outcome.startsWith("PASS");
    }

    /** A started and connected client. */
    static CuratorFramework client() throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
            .connectString(connectString)
            .sessionTimeoutMs(SESSION_MS)
            .connectionTimeoutMs(SESSION_MS)
            .retryPolicy(new ExponentialBackoffRetry(100, 5, 2000))
            .ensembleTracker(true)
            .build();
        client.start();
        require(client.blockUntilConnected((int) WAIT_MS, TimeUnit.MILLISECONDS), "a client connects");
        return client;
    }

    /** Ends a client's session behind its back, as an expiry does: another connection to the session closes it. */
    static void endSession(CuratorFramework client) throws Exception {
        ZooKeeper victim = client.getZookeeperClient().getZooKeeper();
        long sessionId = victim.getSessionId();
        CountDownLatch connected = new CountDownLatch(1);
        Watcher watcher = event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        };
        ZooKeeper twin = new ZooKeeper(connectString, SESSION_MS, watcher, sessionId, victim.getSessionPasswd());
        require(connected.await(WAIT_MS, TimeUnit.MILLISECONDS), "another connection takes the session over");
        require(twin.getSessionId() == sessionId, "it has the same session id");
        twin.close();
        await("a new session", () -> client.getZookeeperClient().isConnected()
            && client.getZookeeperClient().getZooKeeper().getSessionId() != sessionId);
    }

    /** Servers may lag behind one another: afterwards a client reads all that was written before by anybody. */
    static void sync(CuratorFramework client) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        client.getZookeeperClient().getZooKeeper().sync("/", (code, path, context) -> done.countDown(), null);
        require(done.await(WAIT_MS, TimeUnit.MILLISECONDS), "a sync is answered");
    }

    static void require(boolean fact, String what) {
        if (!fact) {
            throw new AssertionError("not so: " + what);
        }
    }

    static void same(Object expected, Object found, String what) {
        require(expected.equals(found), what + " is " + found + ", expected " + expected);
    }

    /** Waits until something is so. */
    static void await(String what, Callable<Boolean> condition) throws Exception {
        long ends = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(WAIT_MS);
        while (!condition.call()) {
            if (System.nanoTime() > ends) {
                throw new AssertionError("waited in vain for " + what);
            }
            Thread.sleep(10);
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, java.nio.charset.StandardCharsets.UTF_8);
    }

    private Judge() {
    }
}
