// What is counted together: SharedCount, SharedValue and DistributedAtomicLong.

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

final class Counters {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("SharedCount", Counters::sharedCount);
        recipes.put("DistributedAtomicLong", Counters::atomicLong);
    }

    private static void sharedCount(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        SharedCount here = new SharedCount(one, base, 10);
        SharedCount there = new SharedCount(two, base, 10);
        AtomicInteger heard = new AtomicInteger();
        there.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader count, int value) {
                heard.set(value);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {
            }
        });
        here.start();
        there.start();
        Judge.same(10, there.getCount(), "the seed");
        here.setCount(11);
        Judge.await("the other client to hear of 11", () -> heard.get() == 11 && there.getCount() == 11);
        VersionedValue<Integer> old = there.getVersionedValue();
        Judge.require(here.trySetCount(here.getVersionedValue(), 12), "the newest version may be replaced");
        Judge.require(!there.trySetCount(old, 13), "an old version may not");
        Judge.await("both to have 12", () -> here.getCount() == 12 && there.getCount() == 12);
        Judge.endSession(two);
        here.setCount(14);
        Judge.await("a client with a new session to hear of 14", () -> heard.get() == 14);
        here.close();
        there.close();
        one.close();
        two.close();
    }

    private static void atomicLong(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        ExecutorService threads = Executors.newFixedThreadPool(4);
        List<Future<Integer>> added = new ArrayList<>();
        for (int n = 0; n < 4; n++) {
            DistributedAtomicLong number = new DistributedAtomicLong(n % 2 == 0 ? one : two, base, new RetryNTimes(100, 1));
            added.add(threads.submit(() -> {
                int done = 0;
                for (int turn = 0; turn < 25; turn++) {
                    AtomicValue<Long> value = number.increment();
                    if (value.succeeded()) {
                        Judge.require(value.postValue() == value.preValue() + 1, "an increment adds one");
                        done++;
                    }
                }
                return done;
            }));
        }
        long sum = 0;
        for (Future<Integer> each : added) {
            sum += each.get();
        }
        threads.shutdown();
        DistributedAtomicLong number = new DistributedAtomicLong(one, base, new RetryNTimes(10, 10));
        Judge.sync(one);
        Judge.require(sum > 0, "some increments succeed");
        Judge.same(sum, number.get().postValue(), "the number after " + sum + " increments");
        Judge.require(!number.compareAndSet(sum - 1, 0L).succeeded(), "what is not so is not replaced");
        Judge.require(number.compareAndSet(sum, -5L).succeeded(), "what is so is replaced");
        Judge.same(-8L, number.subtract(3L).postValue(), "the number less three");
        one.close();
        two.close();
    }

    private Counters() {
    }
}
