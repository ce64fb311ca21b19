// The tests of the Go client: calls, watches, sessions, locks, transactions, ACLs and four-letter words.
package judges

import (
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

func TestCreateReadSetAndDelete(t *testing.T) {
	c := connect(t)
	root := place(t, c)
	path, err := c.Create(root+"/a", []byte("one"), zk.FlagPersistent, all)
	must(t, err)
	same(t, path, root+"/a")
	data, stat, err := c.Get(path)
	must(t, err)
	same(t, string(data), "one")
	same(t, []int32{stat.Version, stat.Cversion, stat.Aversion, stat.DataLength, stat.NumChildren}, []int32{0, 0, 0, 3, 0})
	same(t, stat.EphemeralOwner, 0)
	changed, err := c.Set(path, []byte("second"), 0)
	must(t, err)
	same(t, []int64{int64(changed.Version), int64(changed.DataLength), changed.Czxid}, []int64{1, 6, stat.Czxid})
	found, there, err := c.Exists(path)
	must(t, err)
	same(t, found, true)
	same(t, *there, *changed)
	_, err = c.Set(path, nil, 7)
	fails(t, err, zk.ErrBadVersion)
	_, err = c.Create(path, nil, 0, all)
	fails(t, err, zk.ErrNodeExists)
	_, err = c.Create(path+"/b", nil, 0, all)
	must(t, err)
	names, parent, err := c.Children(path)
	must(t, err)
	same(t, names, []string{"b"})
	same(t, []int32{parent.NumChildren, parent.Cversion}, []int32{1, 1})
	fails(t, c.Delete(path, -1), zk.ErrNotEmpty)
	must(t, c.Delete(path+"/b", 0))
	must(t, c.Delete(path, 1))
	_, _, err = c.Get(path)
	fails(t, err, zk.ErrNoNode)
	synced, err := c.Sync(root)
	must(t, err)
	same(t, synced, root)
}

func TestZnodesOfEveryKind(t *testing.T) {
	c, owner := connect(t), connect(t)
	root := place(t, c)
	path, err := owner.Create(root+"/s-", nil, zk.FlagSequence, all)
	must(t, err)
	same(t, path, root+"/s-0000000000")
	path, err = owner.Create(root+"/e-", nil, zk.FlagEphemeralSequential, all)
	must(t, err)
	same(t, path, root+"/e-0000000001")
	_, stat, err := owner.Get(path)
	must(t, err)
	same(t, stat.EphemeralOwner, owner.SessionID())
	_, err = owner.Create(path+"/child", nil, 0, all)
	fails(t, err, zk.ErrNoChildrenForEphemerals)
	protected, err := owner.CreateProtectedEphemeralSequential(root+"/p-", nil, all)
	must(t, err)
	same(t, strings.HasPrefix(protected, root+"/_c_"), true)
	_, err = c.Sync(root)
	must(t, err)
	found, _, gone, err := c.ExistsW(path)
	must(t, err)
	same(t, found, true)
	owner.Close()
	same(t, next(t, gone).Type, zk.EventNodeDeleted)
}

func TestContainersAndTimesToLive(t *testing.T) {
	c := connect(t)
	root := place(t, c)
	container, err := c.CreateContainer(root+"/container", nil, zk.FlagContainer, all)
	must(t, err)
	_, err = c.Create(container+"/child", nil, 0, all)
	must(t, err)
	path, err := c.CreateTTL(root+"/ttl", []byte("data"), zk.FlagTTL, all, 10*time.Minute)
	must(t, err)
	same(t, path, root+"/ttl")
	path, err = c.CreateTTL(root+"/ttl-", nil, zk.FlagPersistentSequentialWithTTL, all, 10*time.Minute)
	must(t, err)
	same(t, path, root+"/ttl-0000000002")
	for _, path := range []string{container, root + "/ttl"} {
		_, stat, err := c.Get(path)
		must(t, err)
		same(t, stat.EphemeralOwner, 0)
	}
}

func TestEachKindOfWatch(t *testing.T) {
	c, other := connect(t), connect(t)
	root := place(t, c)
	_, err := c.Create(root+"/w", nil, 0, all)
	must(t, err)
	_, _, data, err := c.GetW(root + "/w")
	must(t, err)
	_, _, created, err := c.ExistsW(root + "/w/new")
	must(t, err)
	_, _, children, err := c.ChildrenW(root + "/w")
	must(t, err)
	_, err = other.Set(root+"/w", []byte("1"), -1)
	must(t, err)
	_, err = other.Create(root+"/w/new", nil, 0, all)
	must(t, err)
	same(t, next(t, data).Type, zk.EventNodeDataChanged)
	same(t, next(t, created).Type, zk.EventNodeCreated)
	same(t, next(t, children).Type, zk.EventNodeChildrenChanged)
	_, _, data, err = c.GetW(root + "/w/new")
	must(t, err)
	_, _, children, err = c.ChildrenW(root + "/w/new")
	must(t, err)
	must(t, other.Delete(root+"/w/new", -1))
	for _, events := range []<-chan zk.Event{data, children} {
		event := next(t, events)
		same(t, event.Type, zk.EventNodeDeleted)
		same(t, event.Path, root+"/w/new")
	}
}

func TestASessionAndItsWatchesOutliveACutWire(t *testing.T) {
	c, other := connect(t), connect(t)
	root := place(t, c)
	session := c.SessionID()
	_, err := c.Create(root+"/mine", nil, zk.FlagEphemeral, all)
	must(t, err)
	for _, name := range []string{"still", "changed", "gone", "parent"} {
		_, err := c.Create(root+"/"+name, nil, 0, all)
		must(t, err)
	}
	_, _, still, err := c.GetW(root + "/still")
	must(t, err)
	_, _, changed, err := c.GetW(root + "/changed")
	must(t, err)
	_, _, gone, err := c.GetW(root + "/gone")
	must(t, err)
	_, _, created, err := c.ExistsW(root + "/new")
	must(t, err)
	_, _, children, err := c.ChildrenW(root + "/parent")
	must(t, err)
	// Each of these happens about when the wire is cut: heard over the old wire, or told again over the new one.
	var busy sync.WaitGroup
	busy.Add(1)
	go func() {
		defer busy.Done()
		_, _ = other.Set(root+"/changed", []byte("x"), -1)
		_ = other.Delete(root+"/gone", -1)
		_, _ = other.Create(root+"/new", nil, 0, all)
		_, _ = other.Create(root+"/parent/child", nil, 0, all)
	}()
	c.cut(t)
	busy.Wait()
	same(t, next(t, changed).Type, zk.EventNodeDataChanged)
	same(t, next(t, gone).Type, zk.EventNodeDeleted)
	same(t, next(t, created).Type, zk.EventNodeCreated)
	same(t, next(t, children).Type, zk.EventNodeChildrenChanged)
	same(t, c.SessionID(), session)
	_, stat, err := c.Get(root + "/mine")
	must(t, err)
	same(t, stat.EphemeralOwner, session)
	_, err = other.Set(root+"/still", []byte("x"), -1)
	must(t, err)
	same(t, next(t, still).Type, zk.EventNodeDataChanged)
}

func TestALockHasOneOwner(t *testing.T) {
	first, second := connect(t), connect(t)
	root := place(t, first)
	held, wanted := zk.NewLock(first.Conn, root+"/deep/lock", all), zk.NewLock(second.Conn, root+"/deep/lock", all)
	must(t, held.LockWithData([]byte("first")))
	fails(t, held.Lock(), zk.ErrDeadlock)
	got := make(chan error, 1)
	go func() { got <- wanted.Lock() }()
	until(t, "the second in line", func() bool {
		names, _, err := first.Children(root + "/deep/lock")
		must(t, err)
		return len(names) == 2
	})
	select {
	case err := <-got:
		t.Fatalf("two have the lock: %v", err)
	default:
	}
	must(t, held.Unlock())
	must(t, <-got)
	fails(t, held.Unlock(), zk.ErrNotLocked)
	must(t, wanted.Unlock())
	must(t, held.Lock())
	go func() { got <- wanted.Lock() }()
	first.Close()
	must(t, <-got)
}

func TestManyTakeALockInTurn(t *testing.T) {
	root := place(t, connect(t))
	inside, turns := 0, 0
	var busy sync.WaitGroup
	for range [4]int{} {
		c := connect(t)
		busy.Add(1)
		go func() {
			defer busy.Done()
			lock := zk.NewLock(c.Conn, root+"/lock", all)
			for range [5]int{} {
				if err := lock.Lock(); err != nil {
					t.Error(err)
					return
				}
				inside++
				if inside != 1 {
					t.Error("not alone")
				}
				_, _, _ = c.Exists(root)
				turns++
				inside--
				if err := lock.Unlock(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	busy.Wait()
	same(t, turns, 20)
}

func TestMultiDoesAllOrNothing(t *testing.T) {
	c := connect(t)
	root := place(t, c)
	results, err := c.Multi(
		&zk.CreateRequest{Path: root + "/a", Data: []byte("a"), Acl: all},
		&zk.CreateRequest{Path: root + "/a/n-", Acl: all, Flags: zk.FlagSequence},
		&zk.CheckVersionRequest{Path: root + "/a", Version: 0},
		&zk.SetDataRequest{Path: root + "/a", Data: []byte("new"), Version: 0},
		&zk.DeleteRequest{Path: root + "/a/n-0000000000", Version: -1},
	)
	must(t, err)
	same(t, []string{results[0].String, results[1].String}, []string{root + "/a", root + "/a/n-0000000000"})
	same(t, results[3].Stat.Version, 1)
	results, err = c.Multi(
		&zk.CreateRequest{Path: root + "/no", Acl: all},
		&zk.CheckVersionRequest{Path: root + "/a", Version: 9},
		&zk.DeleteRequest{Path: root + "/a", Version: -1},
	)
	fails(t, err, zk.ErrBadVersion)
	same(t, len(results), 3)
	same(t, results[0].Error, nil)
	same(t, results[1].Error, zk.ErrBadVersion)
	found, _, err := c.Exists(root + "/no")
	must(t, err)
	same(t, found, false)
}

func TestWhoSpeaksAndWhoMay(t *testing.T) {
	owner, stranger := connect(t), connect(t)
	root := place(t, owner)
	must(t, owner.AddAuth("digest", []byte("user:secret")))
	path, err := owner.Create(root+"/a", []byte("data"), 0, zk.AuthACL(zk.PermAll))
	must(t, err)
	acl, stat, err := owner.GetACL(path)
	must(t, err)
	same(t, acl, zk.DigestACL(zk.PermAll, "user", "secret"))
	same(t, stat.Aversion, 0)
	_, err = stranger.Sync(root)
	must(t, err)
	_, _, err = stranger.Get(path)
	fails(t, err, zk.ErrNoAuth)
	_, err = stranger.Multi(&zk.SetDataRequest{Path: path, Version: -1})
	fails(t, err, zk.ErrNoAuth)
	owner.cut(t)
	data, _, err := owner.Get(path)
	must(t, err)
	same(t, string(data), "data")
	changed, err := owner.SetACL(path, append(zk.WorldACL(zk.PermRead), zk.DigestACL(zk.PermAll, "user", "secret")...), 0)
	must(t, err)
	same(t, changed.Aversion, 1)
	_, err = stranger.Sync(root)
	must(t, err)
	_, _, err = stranger.Get(path)
	must(t, err)
	_, err = stranger.Set(path, nil, -1)
	fails(t, err, zk.ErrNoAuth)
	_, err = stranger.Create(root+"/b", nil, 0, zk.AuthACL(zk.PermAll))
	fails(t, err, zk.ErrInvalidACL)
}

func TestReconfigIsRefusedWhereItIsOff(t *testing.T) {
	c := connect(t)
	if _, err := c.IncrementalReconfig(nil, []string{"9"}, -1); err == nil {
		t.Fatal("a stranger changed the ensemble")
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	c := connect(t)
	root := place(t, c)
	var busy sync.WaitGroup
	for range [500]int{} {
		busy.Add(1)
		go func() {
			defer busy.Done()
			if _, err := c.Create(root+"/n-", nil, zk.FlagSequence, all); err != nil {
				t.Error(err)
			}
		}()
	}
	busy.Wait()
	names, _, err := c.Children(root)
	must(t, err)
	sort.Strings(names)
	same(t, []interface{}{len(names), names[0], names[499]}, []interface{}{500, "n-0000000000", "n-0000000499"})
}
