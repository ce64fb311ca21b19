// Who may go on: mutexes, read/write locks, semaphores and barriers.

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

final class Locks {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("InterProcessMutex", Locks::mutex);
        recipes.put("InterProcessSemaphoreMutex", Locks::semaphoreMutex);
        recipes.put("InterProcessReadWriteLock", Locks::readWriteLock);
        recipes.put("InterProcessSemaphoreV2", Locks::semaphore);
        recipes.put("InterProcessMultiLock", Locks::multiLock);
        recipes.put("DistributedBarrier", Locks::barrier);
        recipes.put("DistributedDoubleBarrier", Locks::doubleBarrier);
    }

    private static boolean taken(InterProcessLock lock) throws Exception {
        if (lock.acquire(200, TimeUnit.MILLISECONDS)) {
            lock.release();
            return false;
        }
        return true;
    }

    private static void acquire(InterProcessLock lock) throws Exception {
        Judge.require(lock.acquire(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "a free lock can be had");
    }

    /** Threads of two clients take turns; none ever meets another. */
    private static void mutex(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        AtomicInteger inside = new AtomicInteger();
        ExecutorService threads = Executors.newFixedThreadPool(6);
        List<Future<Integer>> turns = new ArrayList<>();
        for (int n = 0; n < 6; n++) {
            InterProcessMutex lock = new InterProcessMutex(n % 2 == 0 ? one : two, base);
            turns.add(threads.submit(() -> {
                int met = 0;
                for (int turn = 0; turn < 5; turn++) {
                    acquire(lock);
                    acquire(lock);
                    met += inside.incrementAndGet() - 1;
                    inside.decrementAndGet();
                    lock.release();
                    lock.release();
                }
                return met;
            }));
        }
        for (Future<Integer> turn : turns) {
            Judge.same(0, turn.get(), "the number of threads met inside");
        }
        threads.shutdown();

        InterProcessMutex held = new InterProcessMutex(one, base);
        InterProcessMutex wanted = new InterProcessMutex(two, base);
        acquire(held);
        Judge.require(taken(wanted), "another client finds the lock taken");
        Judge.same(1, wanted.getParticipantNodes().size(), "the number of participants");
        Judge.endSession(one);
        acquire(wanted);
        wanted.release();
        one.close();
        two.close();
    }

    private static void semaphoreMutex(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        InterProcessSemaphoreMutex held = new InterProcessSemaphoreMutex(one, base);
        acquire(held);
        Judge.require(taken(new InterProcessSemaphoreMutex(two, base)), "another client finds the lock taken");
        held.release();
        Judge.require(!taken(new InterProcessSemaphoreMutex(two, base)), "released, it is free");
        one.close();
        two.close();
    }

    private static void readWriteLock(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        InterProcessReadWriteLock here = new InterProcessReadWriteLock(one, base);
        InterProcessReadWriteLock there = new InterProcessReadWriteLock(two, base);
        acquire(here.readLock());
        acquire(there.readLock());
        there.readLock().release();
        Judge.require(taken(there.writeLock()), "a reader keeps writers out");
        here.readLock().release();
        acquire(here.writeLock());
        Judge.require(taken(there.readLock()), "a writer keeps readers out");
        acquire(here.readLock());
        here.writeLock().release();
        Judge.require(!taken(there.readLock()), "a writer turned reader lets readers in");
        Judge.require(taken(there.writeLock()), "and keeps writers out");
        here.readLock().release();
        Judge.require(!taken(there.writeLock()), "free in the end");
        one.close();
        two.close();
    }

    private static void semaphore(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        InterProcessSemaphoreV2 here = new InterProcessSemaphoreV2(one, base, 3);
        InterProcessSemaphoreV2 there = new InterProcessSemaphoreV2(two, base, 3);
        Lease first = here.acquire(Judge.WAIT_MS, TimeUnit.MILLISECONDS);
        Judge.require(first != null, "a first lease");
        java.util.Collection<Lease> more = there.acquire(2, Judge.WAIT_MS, TimeUnit.MILLISECONDS);
        Judge.require(more != null && more.size() == 2, "two more leases");
        Judge.require(here.acquire(200, TimeUnit.MILLISECONDS) == null, "no fourth lease");
        CountDownLatch got = new CountDownLatch(1);
        Thread waiting = new Thread(() -> {
            try {
                here.returnLease(here.acquire());
                got.countDown();
            } catch (Exception error) {
                error.printStackTrace();
            }
        });
        waiting.start();
        there.returnAll(more);
        Judge.require(got.await(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "a returned lease wakes who waits");
        Judge.sync(one);
        Judge.same(1, here.getParticipantNodes().size(), "the number of leases left");
        here.returnLease(first);
        one.close();
        two.close();
    }

    private static void multiLock(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        List<String> paths = List.of(base + "/left", base + "/right");
        InterProcessMultiLock both = new InterProcessMultiLock(one, paths);
        InterProcessMutex left = new InterProcessMutex(two, paths.get(0));
        InterProcessMutex right = new InterProcessMutex(two, paths.get(1));
        acquire(both);
        Judge.require(taken(left) && taken(right), "both locks are taken");
        both.release();
        acquire(right);
        Judge.require(!both.acquire(200, TimeUnit.MILLISECONDS), "one that is taken keeps the whole from being had");
        Judge.require(!taken(left), "and the other is let go");
        right.release();
        one.close();
        two.close();
    }

    private static void barrier(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        DistributedBarrier barrier = new DistributedBarrier(one, base);
        barrier.setBarrier();
        Judge.sync(two);
        Judge.require(!new DistributedBarrier(two, base).waitOnBarrier(200, TimeUnit.MILLISECONDS), "the barrier stands");
        ExecutorService threads = Executors.newFixedThreadPool(1);
        Future<Boolean> through =
            threads.submit(() -> new DistributedBarrier(two, base).waitOnBarrier(Judge.WAIT_MS, TimeUnit.MILLISECONDS));
        barrier.removeBarrier();
        Judge.require(through.get(), "a removed barrier lets through");
        threads.shutdown();
        one.close();
        two.close();
    }

    private static void doubleBarrier(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        int members = 4;
        AtomicInteger entered = new AtomicInteger();
        AtomicInteger leaving = new AtomicInteger();
        ExecutorService threads = Executors.newFixedThreadPool(members);
        List<Future<Boolean>> outcomes = new ArrayList<>();
        for (int n = 0; n < members; n++) {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(n % 2 == 0 ? one : two, base, members);
            outcomes.add(threads.submit(() -> {
                entered.incrementAndGet();
                boolean in = barrier.enter(Judge.WAIT_MS, TimeUnit.MILLISECONDS) && entered.get() == members;
                leaving.incrementAndGet();
                return barrier.leave(Judge.WAIT_MS, TimeUnit.MILLISECONDS) && in && leaving.get() == members;
            }));
        }
        for (Future<Boolean> outcome : outcomes) {
            Judge.require(outcome.get(), "all enter and leave together");
        }
        threads.shutdown();
        one.close();
        two.close();
    }

    private Locks() {
    }
}
