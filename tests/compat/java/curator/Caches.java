// What is kept in view: CuratorCache, NodeCache, PathChildrenCache, TreeCache and PersistentWatcher, also through the
// end of their session.

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException;

@SuppressWarnings("deprecation")
final class Caches {
    static void list(Map<String, Judge.Recipe> recipes) {
        recipes.put("CuratorCache", Caches::curatorCache);
        recipes.put("NodeCache", Caches::nodeCache);
        recipes.put("PathChildrenCache", Caches::pathChildrenCache);
        recipes.put("TreeCache", Caches::treeCache);
        recipes.put("PersistentWatcher", Caches::persistentWatcher);
        recipes.put("Watchers", Caches::watchers);
    }

    private static void curatorCache(String base) throws Exception {
        CuratorFramework writer = Judge.client();
        CuratorFramework reader = Judge.client();
        writer.create().creatingParentsIfNeeded().forPath(base + "/a/before", Judge.bytes("1"));
        Judge.sync(reader);
        CuratorCache cache = CuratorCache.build(reader, base);
        Map<String, String> seen = new ConcurrentHashMap<>();
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
            .forCreates(node -> seen.put(node.getPath(), Judge.text(node.getData())))
            .forChanges((old, node) -> seen.put(node.getPath(), Judge.text(node.getData())))
            .forDeletes(node -> seen.remove(node.getPath()))
            .forInitialized(ready::countDown)
            .build());
        cache.start();
        Judge.require(ready.await(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "the cache is filled");
        Judge.same("1", seen.get(base + "/a/before"), "what was there before");
        writer.create().forPath(base + "/a/after", Judge.bytes("2"));
        writer.create().forPath(base + "/a/after/deep", Judge.bytes("3"));
        writer.setData().forPath(base + "/a/before", Judge.bytes("4"));
        Judge.await("creates and changes", () -> "3".equals(seen.get(base + "/a/after/deep")) && "4".equals(seen.get(base + "/a/before")));
        Judge.same("2", Judge.text(cache.get(base + "/a/after").orElseThrow().getData()), "data out of the cache");
        Judge.endSession(reader);
        writer.delete().deletingChildrenIfNeeded().forPath(base + "/a/after");
        writer.setData().forPath(base + "/a/before", Judge.bytes("5"));
        Judge.await("changes after the end of the session", () ->
            !seen.containsKey(base + "/a/after") && "5".equals(seen.get(base + "/a/before")));
        Judge.same(3, cache.size(), "the number of znodes in the cache");
        cache.close();
        writer.close();
        reader.close();
    }

    private static void nodeCache(String base) throws Exception {
        CuratorFramework writer = Judge.client();
        CuratorFramework reader = Judge.client();
        NodeCache cache = new NodeCache(reader, base);
        cache.start(true);
        Judge.require(cache.getCurrentData() == null, "no data of what is not there");
        writer.create().forPath(base, Judge.bytes("1"));
        Judge.await("the creation", () -> cache.getCurrentData() != null && "1".equals(Judge.text(cache.getCurrentData().getData())));
        writer.setData().forPath(base, Judge.bytes("2"));
        Judge.await("the change", () -> "2".equals(Judge.text(cache.getCurrentData().getData())));
        Judge.endSession(reader);
        writer.delete().forPath(base);
        Judge.await("the deletion", () -> cache.getCurrentData() == null);
        cache.close();
        writer.close();
        reader.close();
    }

    private static void pathChildrenCache(String base) throws Exception {
        CuratorFramework writer = Judge.client();
        CuratorFramework reader = Judge.client();
        writer.create().creatingParentsIfNeeded().forPath(base + "/before", Judge.bytes("1"));
        Judge.sync(reader);
        PathChildrenCache cache = new PathChildrenCache(reader, base, true);
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        Judge.same(1, cache.getCurrentData().size(), "the number of children there before");
        writer.create().forPath(base + "/after", Judge.bytes("2"));
        writer.setData().forPath(base + "/before", Judge.bytes("3"));
        Judge.await("another child and new data", () -> cache.getCurrentData(base + "/after") != null
            && "3".equals(Judge.text(cache.getCurrentData(base + "/before").getData())));
        Judge.endSession(reader);
        writer.delete().forPath(base + "/before");
        Judge.await("a child less", () -> cache.getCurrentData().size() == 1);
        cache.close();
        writer.close();
        reader.close();
    }

    private static void treeCache(String base) throws Exception {
        CuratorFramework writer = Judge.client();
        CuratorFramework reader = Judge.client();
        writer.create().creatingParentsIfNeeded().forPath(base + "/a/b", Judge.bytes("1"));
        TreeCache cache = new TreeCache(reader, base);
        cache.start();
        Judge.await("what was there before", () -> cache.getCurrentData(base + "/a/b") != null);
        writer.create().forPath(base + "/a/b/c", Judge.bytes("2"));
        writer.setData().forPath(base + "/a/b", Judge.bytes("3"));
        Judge.await("what came", () -> cache.getCurrentData(base + "/a/b/c") != null
            && "3".equals(Judge.text(cache.getCurrentData(base + "/a/b").getData())));
        Judge.same(Set.of("b"), cache.getCurrentChildren(base + "/a").keySet(), "the children");
        Judge.endSession(reader);
        writer.delete().deletingChildrenIfNeeded().forPath(base + "/a/b");
        Judge.await("what went", () -> cache.getCurrentChildren(base + "/a") != null && cache.getCurrentChildren(base + "/a").isEmpty());
        cache.close();
        writer.close();
        reader.close();
    }

    private static void persistentWatcher(String base) throws Exception {
        CuratorFramework writer = Judge.client();
        CuratorFramework reader = Judge.client();
        writer.create().forPath(base);
        Judge.sync(reader);
        Set<String> seen = ConcurrentHashMap.newKeySet();
        CountDownLatch armed = new CountDownLatch(2);
        PersistentWatcher deep = new PersistentWatcher(reader, base, true);
        deep.getListenable().addListener(event -> seen.add("deep " + event.getType() + " " + event.getPath()));
        deep.getResetListenable().addListener(armed::countDown);
        PersistentWatcher flat = new PersistentWatcher(reader, base, false);
        flat.getListenable().addListener(event -> seen.add("flat " + event.getType() + " " + event.getPath()));
        flat.getResetListenable().addListener(armed::countDown);
        deep.start();
        flat.start();
        Judge.require(armed.await(Judge.WAIT_MS, TimeUnit.MILLISECONDS), "both watches are set");
        writer.create().forPath(base + "/a");
        writer.create().forPath(base + "/a/b");
        writer.setData().forPath(base, Judge.bytes("x"));
        Judge.await("events", () -> seen.containsAll(Set.of(
            "deep NodeCreated " + base + "/a", "deep NodeCreated " + base + "/a/b", "deep NodeDataChanged " + base,
            "flat NodeChildrenChanged " + base, "flat NodeDataChanged " + base)));
        Judge.require(seen.stream().noneMatch(each -> each.startsWith("flat") && each.contains("/a")), "one is not recursive");
        Judge.require(seen.stream().noneMatch(each -> each.startsWith("deep NodeChildren")), "the other has no children's events");
        Judge.endSession(reader);
        Judge.await("events after the end of the session", () -> {
            writer.setData().forPath(base + "/a/b", Judge.bytes("y"));
            return seen.contains("deep NodeDataChanged " + base + "/a/b");
        });
        deep.close();
        flat.close();
        writer.close();
        reader.close();
    }

    private static void watchers(String base) throws Exception {
        CuratorFramework client = Judge.client();
        client.create().forPath(base);
        AtomicReference<String> seen = new AtomicReference<>("");
        org.apache.curator.framework.api.CuratorWatcher watcher = event -> seen.set(event.getType() + " " + event.getPath());
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher(watcher).forPath(base);
        client.create().forPath(base + "/a");
        Judge.await("an event", () -> seen.get().equals("NodeCreated " + base + "/a"));
        client.watchers().remove(watcher).forPath(base);
        Judge.await("the event of the removal", () -> seen.get().equals("PersistentWatchRemoved " + base));
        try {
            client.watchers().remove(watcher).forPath(base);
            throw new AssertionError("a watch was removed twice");
        } catch (KeeperException.NoWatcherException expected) {
            client.create().forPath(base + "/b");
        }
        Judge.same("PersistentWatchRemoved " + base, seen.get(), "the last event");
        client.getData().usingWatcher(watcher).forPath(base);
        client.watchers().removeAll().ofType(org.apache.zookeeper.Watcher.WatcherType.Data).forPath(base);
        Judge.await("the event of the second removal", () -> seen.get().equals("DataWatchRemoved " + base));
        client.close();
    }

    private Caches() {
    }
}
