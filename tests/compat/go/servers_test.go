// Package judges puts fastzk before the Go client github.com/go-zookeeper/zk: all that it offers, judged by what it and
// ZooKeeper document. ZOOKEEPER_HOSTS says where the servers are, as HOST:PORT,...
//
// This file holds what the tests share: connections that can be cut, waiting for a condition, a place in the tree.
package judges

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

const waitMax = 20 * time.Second

var all = zk.WorldACL(zk.PermAll)

func hosts(t *testing.T) []string {
	t.Helper()
	given := os.Getenv("ZOOKEEPER_HOSTS")
	if given == "" {
		t.Fatal("ZOOKEEPER_HOSTS must say where the servers are, as HOST:PORT,...")
	}
	return strings.Split(given, ",")
}

// client is a connection whose wire can be cut.
type client struct {
	*zk.Conn
	lock  sync.Mutex
	wire  net.Conn
	heard []zk.Event
}

// silent drops what the library would log.
type silent struct{}

func (silent) Printf(string, ...interface{}) {}

// connect gives a client with a session; the test's end closes it.
func connect(t *testing.T) *client {
	t.Helper()
	made := &client{}
	dialer := func(network, address string, timeout time.Duration) (net.Conn, error) {
		wire, err := net.DialTimeout(network, address, timeout)
		made.lock.Lock()
		defer made.lock.Unlock()
		made.wire = wire
		return wire, err
	}
	onEvent := func(event zk.Event) {
		made.lock.Lock()
		defer made.lock.Unlock()
		made.heard = append(made.heard, event)
	}
	conn, _, err := zk.Connect(hosts(t), 10*time.Second, zk.WithDialer(dialer), zk.WithEventCallback(onEvent), zk.WithLogger(silent{}))
	must(t, err)
	made.Conn = conn
	t.Cleanup(conn.Close)
	until(t, "a session", func() bool { return conn.State() == zk.StateHasSession })
	return made
}

// states counts how often a state was told of.
func (c *client) states(state zk.State) int {
	c.lock.Lock()
	defer c.lock.Unlock()
	count := 0
	for _, event := range c.heard {
		if event.Type == zk.EventSession && event.State == state {
			count++
		}
	}
	return count
}

// cut closes the wire and waits until the client has its session on another.
func (c *client) cut(t *testing.T) {
	t.Helper()
	before := c.states(zk.StateHasSession)
	c.lock.Lock()
	wire := c.wire
	c.lock.Unlock()
	must(t, wire.Close())
	until(t, "the session on a new wire", func() bool { return c.states(zk.StateHasSession) > before })
}

// place makes a znode for one test; its end removes it with all that is below.
func place(t *testing.T, c *client) string {
	t.Helper()
	path, err := c.Create("/go-", nil, zk.FlagSequence, all)
	must(t, err)
	t.Cleanup(func() {
		sweeper := connect(t)
		must(t, sweeper.AddAuth("digest", []byte("user:secret")))
		_, err := sweeper.Sync(path)
		must(t, err)
		remove(t, sweeper, path)
	})
	return path
}

func remove(t *testing.T, c *client, path string) {
	t.Helper()
	names, _, err := c.Children(path)
	must(t, err)
	for _, name := range names {
		remove(t, c, path+"/"+name)
	}
	if err := c.Delete(path, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		t.Fatalf("delete %s: %v", path, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t *testing.T, err, expected error) {
	t.Helper()
	if !errors.Is(err, expected) {
		t.Fatalf("expected %v, not %v", expected, err)
	}
}

func same(t *testing.T, got, expected interface{}) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		t.Fatalf("expected %v, not %v", expected, got)
	}
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for ends := time.Now().Add(waitMax); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(ends) {
			t.Fatalf("waited %v in vain for %s", waitMax, what)
		}
	}
}

// next gives the event of a watch.
func next(t *testing.T, events <-chan zk.Event) zk.Event {
	t.Helper()
	select {
	case event := <-events:
		return event
	case <-time.After(waitMax):
		t.Fatal("no event")
		return zk.Event{}
	}
}
