// What recipes stand on: transactions, modes of creation, protection, ACLs, background calls, namespaces, the configuration.

import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.CuratorEvent;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

final class Framework {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("Transactions", Framework::transactions);
        recipes.put("CreateModes", Framework::createModes);
        recipes.put("Acls", Framework::acls);
        recipes.put("Background", Framework::background);
        recipes.put("Namespace", Framework::namespace);
        recipes.put("EnsembleTracker", Framework::ensembleTracker);
    }

    private static void transactions(String base) throws Exception {
        CuratorFramework client = Judge.client();
        client.create().forPath(base, Judge.bytes("0"));
        client.create().forPath(base + "/old");
        List<CuratorTransactionResult> results = client.transaction().forOperations(
            client.transactionOp().create().forPath(base + "/new", Judge.bytes("1")),
            client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(base + "/seq-"),
            client.transactionOp().create().withMode(CreateMode.CONTAINER).forPath(base + "/container"),
            client.transactionOp().create().withTtl(100_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(base + "/ttl"),
            client.transactionOp().check().withVersion(0).forPath(base),
            client.transactionOp().setData().withVersion(0).forPath(base, Judge.bytes("2")),
            client.transactionOp().delete().forPath(base + "/old"));
        Judge.same(7, results.size(), "the number of results");
        Judge.same(OperationType.CREATE, results.get(0).getType(), "the first one's type");
        Judge.same(base + "/seq-0000000002", results.get(1).getResultPath(), "the path of the second");
        Judge.same(1, results.get(5).getResultStat().getVersion(), "the version that it set");
        Judge.require(client.checkExists().forPath(base + "/old") == null, "the last is deleted");
        try {
            client.transaction().forOperations(
                client.transactionOp().create().forPath(base + "/never"),
                client.transactionOp().check().withVersion(0).forPath(base),
                client.transactionOp().delete().forPath(base + "/new"));
            throw new AssertionError("a wrong version was accepted");
        } catch (KeeperException.BadVersionException expected) {
            Judge.same(KeeperException.Code.BADVERSION.intValue(), expected.getResults().get(1).getType() == ZooDefs.OpCode.error
                ? ((org.apache.zookeeper.OpResult.ErrorResult) expected.getResults().get(1)).getErr() : 0, "the error of the second");
        }
        Judge.require(client.checkExists().forPath(base + "/never") == null, "of a failed transaction nothing is done");
        Judge.require(client.checkExists().forPath(base + "/new") != null, "nothing at all");
        client.close();
    }

    private static void createModes(String base) throws Exception {
        CuratorFramework client = Judge.client();
        CuratorFramework other = Judge.client();
        client.create().creatingParentContainersIfNeeded().forPath(base + "/container/child", Judge.bytes("1"));
        String kept = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(base + "/kept-");
        Judge.require(kept.matches(base + "/_c_[-0-9a-f]{36}-kept-\\d{10}"), "a protected name: " + kept);
        Stat stat = new Stat();
        client.create().storingStatIn(stat).withMode(CreateMode.EPHEMERAL).forPath(base + "/eph");
        Judge.same(client.getZookeeperClient().getZooKeeper().getSessionId(), stat.getEphemeralOwner(), "the owner");
        client.create().orSetData().forPath(base + "/container/child", Judge.bytes("2"));
        Judge.sync(other);
        Judge.same("2", Judge.text(other.getData().forPath(base + "/container/child")), "the data set instead");
        client.create().withTtl(100_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(base + "/ttl");
        client.create().compressed().forPath(base + "/zipped", Judge.bytes("x".repeat(5000)));
        Judge.sync(other);
        Judge.require(other.getData().forPath(base + "/zipped").length < 1000, "it is stored compressed");
        Judge.same(5000, other.getData().decompressed().forPath(base + "/zipped").length, "its length");
        try {
            client.create().forPath(base + "/eph/child");
            throw new AssertionError("an ephemeral has a child");
        } catch (KeeperException.NoChildrenForEphemeralsException expected) {
            client.delete().guaranteed().forPath(base + "/eph");
        }
        try {
            client.delete().withVersion(7).forPath(base + "/ttl");
            throw new AssertionError("a wrong version was accepted");
        } catch (KeeperException.BadVersionException expected) {
            client.delete().quietly().forPath(base + "/eph");
        }
        Judge.same(5, client.getZookeeperClient().getZooKeeper().getAllChildrenNumber(base), "the number of descendants");
        Judge.same(List.of(kept), client.getZookeeperClient().getZooKeeper().getEphemerals(base), "the session's ephemerals");
        client.close();
        other.close();
    }

    private static void acls(String base) throws Exception {
        CuratorFramework owner = CuratorFrameworkFactory.builder().connectString(Judge.connectString)
            .retryPolicy(new RetryOneTime(100)).authorization("digest", Judge.bytes("ann:secret")).build();
        owner.start();
        CuratorFramework other = Judge.client();
        owner.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(base, Judge.bytes("1"));
        Judge.sync(other);
        Judge.same("digest", owner.getACL().forPath(base).get(0).getId().getScheme(), "the scheme");
        try {
            other.getData().forPath(base);
            throw new AssertionError("a stranger read it");
        } catch (KeeperException.NoAuthException expected) {
            owner.setACL().withVersion(0).withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath(base);
        }
        Judge.sync(other);
        Judge.same("1", Judge.text(other.getData().forPath(base)), "what a stranger reads then");
        Judge.require(owner.getZookeeperClient().getZooKeeper().whoAmI().stream()
            .anyMatch(each -> each.getAuthScheme().equals("digest") && each.getUser().equals("ann")), "the server knows who it is");
        other.close();
        owner.close();
    }

    private static void background(String base) throws Exception {
        CuratorFramework client = Judge.client();
        BlockingQueue<CuratorEvent> done = new LinkedBlockingQueue<>();
        client.create().inBackground((one, event) -> done.add(event)).forPath(base, Judge.bytes("1"));
        Judge.same(base, done.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS).getPath(), "the path created");
        client.getData().inBackground((one, event) -> done.add(event)).forPath(base);
        Judge.same("1", Judge.text(done.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS).getData()), "the data read");
        client.create().inBackground((one, event) -> done.add(event)).forPath(base);
        Judge.same(KeeperException.Code.NODEEXISTS.intValue(), done.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS).getResultCode(), "the code");
        client.sync().inBackground((one, event) -> done.add(event)).forPath(base);
        Judge.same(base, done.poll(Judge.WAIT_MS, TimeUnit.MILLISECONDS).getPath(), "the path synchronized");
        client.close();
    }

    private static void namespace(String base) throws Exception {
        CuratorFramework client = Judge.client();
        CuratorFramework inside = client.usingNamespace(base.substring(1));
        inside.create().creatingParentsIfNeeded().forPath("/a/b", Judge.bytes("1"));
        Judge.same("1", Judge.text(client.getData().forPath(base + "/a/b")), "the data at the full path");
        Judge.same(List.of("a"), inside.getChildren().forPath("/"), "the children of the namespace");
        client.close();
    }

    /** The tracker reads /zookeeper/config and goes where it says: a client must still find its way afterwards. */
    private static void ensembleTracker(String base) throws Exception {
        CuratorFramework client = Judge.client();
        boolean alone = !Judge.connectString.contains(",");
        Judge.await("the ensemble's configuration", () -> alone || client.getConfig().forEnsemble().length > 0);
        Properties config = new Properties();
        config.load(new java.io.ByteArrayInputStream(client.getConfig().forEnsemble()));
        long members = config.stringPropertyNames().stream().filter(name -> name.startsWith("server.")).count();
        Judge.await("the tracker to have the configuration", () -> client.getCurrentConfig().getAllMembers().size() == members);
        String servers = client.getZookeeperClient().getCurrentConnectionString();
        Judge.require(servers.split(",").length >= members, "the servers are " + servers + ", the members " + members);
        Judge.endSession(client);
        client.create().forPath(base, Judge.bytes(servers));
        client.close();
    }

    private Framework() {
    }
}
