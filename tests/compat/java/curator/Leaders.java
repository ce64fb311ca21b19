// Who leads: LeaderLatch and LeaderSelector, through the end of the leader's session.

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

final class Leaders {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("LeaderLatch", Leaders::latch);
        recipes.put("LeaderSelector", Leaders::selector);
    }

    private static LeaderLatch only(Collection<LeaderLatch> latches) {
        List<LeaderLatch> leaders = latches.stream().filter(LeaderLatch::hasLeadership).toList();
        Judge.require(leaders.size() <= 1, "two latches lead");
        return leaders.isEmpty() ? null : leaders.get(0);
    }

    private static void latch(String base) throws Exception {
        List<CuratorFramework> clients = new ArrayList<>();
        List<LeaderLatch> latches = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            clients.add(Judge.client());
            latches.add(new LeaderLatch(clients.get(n), base, "member-" + n));
            latches.get(n).start();
        }
        Judge.await("a leader", () -> only(latches) != null);
        LeaderLatch first = only(latches);
        Judge.await("three participants", () -> first.getParticipants().size() == 3);
        for (LeaderLatch latch : latches) {
            Judge.await("all to see the same leader", () -> latch.getLeader().getId().equals(first.getId()));
        }

        Judge.endSession(clients.get(latches.indexOf(first)));
        Judge.await("another leader", () -> only(latches) != null && only(latches) != first);
        Judge.await("the first one's return", () -> first.getParticipants().size() == 3);

        LeaderLatch second = only(latches);
        second.close();
        latches.remove(second);
        Judge.await("a third leader", () -> only(latches) != null);
        Judge.await("two participants", () -> latches.get(0).getParticipants().size() == 2);
        for (LeaderLatch latch : latches) {
            latch.close();
        }
        clients.forEach(CuratorFramework::close);
    }

    private static void selector(String base) throws Exception {
        AtomicInteger leading = new AtomicInteger();
        AtomicInteger clashes = new AtomicInteger();
        CountDownLatch terms = new CountDownLatch(6);
        List<CuratorFramework> clients = new ArrayList<>();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            clients.add(Judge.client());
            LeaderSelector selector = new LeaderSelector(clients.get(n), base, new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    if (leading.incrementAndGet() != 1) {
                        clashes.incrementAndGet();
                    }
                    client.getData().forPath(base);
                    leading.decrementAndGet();
                    terms.countDown();
                }
            });
            selector.setId("selector-" + n);
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
        }
        Judge.require(terms.await(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "six terms of leadership");
        Judge.same(0, clashes.get(), "the number of times that two led");
        selectors.forEach(LeaderSelector::close);
        clients.forEach(CuratorFramework::close);
    }

    private Leaders() {
    }
}
