// What is to be there: PersistentNode, PersistentTtlNode, GroupMember and ServiceDiscovery.

import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

final class Nodes {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("PersistentNode", Nodes::persistentNode);
        recipes.put("PersistentTtlNode", Nodes::persistentTtlNode);
        recipes.put("GroupMember", Nodes::groupMember);
        recipes.put("ServiceDiscovery", Nodes::serviceDiscovery);
    }

    private static void persistentNode(String base) throws Exception {
        CuratorFramework owner = Judge.client();
        CuratorFramework other = Judge.client();
        PersistentNode node = new PersistentNode(owner, CreateMode.EPHEMERAL, false, base + "/mine", Judge.bytes("1"));
        node.start();
        Judge.require(node.waitForInitialCreate(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "it is created");
        Judge.sync(other);
        Stat first = other.checkExists().forPath(node.getActualPath());
        other.delete().forPath(node.getActualPath());
        Judge.await("its return", () -> other.checkExists().forPath(base + "/mine") != null);
        Judge.endSession(owner);
        Judge.await("its return for a new session", () -> {
            Stat now = other.checkExists().forPath(base + "/mine");
            return now != null && now.getEphemeralOwner() != first.getEphemeralOwner();
        });
        node.setData(Judge.bytes("2"));
        Judge.await("its data", () -> "2".equals(Judge.text(other.getData().forPath(base + "/mine"))));
        node.close();
        Judge.await("its end", () -> other.checkExists().forPath(base + "/mine") == null);
        owner.close();
        other.close();
    }

    private static void persistentTtlNode(String base) throws Exception {
        CuratorFramework owner = Judge.client();
        CuratorFramework other = Judge.client();
        PersistentTtlNode node = new PersistentTtlNode(owner, base, 1000, Judge.bytes("1"));
        node.start();
        Judge.require(node.waitForInitialCreate(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "it is created");
        String touched = base + "/" + PersistentTtlNode.DEFAULT_CHILD_NODE_NAME;
        Judge.await("its child", () -> other.checkExists().forPath(touched) != null);
        Stat first = other.checkExists().forPath(touched);
        Judge.same(0L, first.getEphemeralOwner(), "the owner of a TTL znode, as clients see it");
        Judge.await("its child to be touched twice", () -> {
            Stat now = other.checkExists().forPath(touched);
            Judge.require(now != null, "a touched TTL znode stays");
            return now.getVersion() >= first.getVersion() + 2;
        });
        Judge.same("1", Judge.text(other.getData().forPath(base)), "its data");
        node.close();
        owner.close();
        other.close();
    }

    private static void groupMember(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        GroupMember here = new GroupMember(one, base, "here", Judge.bytes("1"));
        GroupMember there = new GroupMember(two, base, "there", Judge.bytes("2"));
        here.start();
        there.start();
        Judge.await("both to see both", () -> here.getCurrentMembers().keySet().equals(Set.of("here", "there"))
            && there.getCurrentMembers().keySet().equals(Set.of("here", "there")));
        Judge.endSession(two);
        Judge.await("the return of who lost a session", () -> here.getCurrentMembers().keySet().equals(Set.of("here", "there")));
        there.close();
        Judge.await("one alone", () -> here.getCurrentMembers().keySet().equals(Set.of("here")));
        here.close();
        one.close();
        two.close();
    }

    private static ServiceDiscovery<Void> discovery(CuratorFramework client, String base) throws Exception {
        ServiceDiscovery<Void> found = ServiceDiscoveryBuilder.builder(Void.class).client(client).basePath(base).build();
        found.start();
        return found;
    }

    private static ServiceInstance<Void> instance(String id, int port) throws Exception {
        return ServiceInstance.<Void>builder().name("shop").id(id).address("127.0.0.1").port(port).build();
    }

    private static void serviceDiscovery(String base) throws Exception {
        CuratorFramework one = Judge.client();
        CuratorFramework two = Judge.client();
        ServiceDiscovery<Void> here = discovery(one, base);
        ServiceDiscovery<Void> there = discovery(two, base);
        ServiceCache<Void> cache = there.serviceCacheBuilder().name("shop").build();
        ServiceProvider<Void> provider = there.serviceProviderBuilder().serviceName("shop").build();
        here.registerService(instance("first", 8001));
        cache.start();
        provider.start();
        here.registerService(instance("second", 8002));
        Judge.await("two instances in the cache", () -> cache.getInstances().stream().map(ServiceInstance::getPort)
            .collect(Collectors.toSet()).equals(Set.of(8001, 8002)));
        Judge.same(Set.of("shop"), Set.copyOf(there.queryForNames()), "the names of services");
        Judge.same(2, there.queryForInstances("shop").size(), "the number of instances");
        Judge.await("an instance to be provided", () -> provider.getInstance() != null);
        Judge.endSession(one);
        Judge.await("both again after the end of the session", () -> there.queryForInstances("shop").size() == 2);
        here.unregisterService(there.queryForInstance("shop", "first"));
        Judge.await("one instance in the cache", () -> cache.getInstances().size() == 1);
        cache.close();
        provider.close();
        there.close();
        here.close();
        one.close();
        two.close();
    }

    private Nodes() {
    }
}
