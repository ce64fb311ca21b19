// The helpers of the Go client that read four-letter words with patterns of their own.
package judges

import (
	"io"
	"net"
	"regexp"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

func TestRuok(t *testing.T) {
	servers := hosts(t)
	for n, fine := range zk.FLWRuok(servers, waitMax) {
		same(t, fine, true)
		same(t, n < len(servers), true)
	}
}

// The client's own pattern but for the date, which it knows as ZooKeeper wrote it before 3.6 alone.
var srvr = regexp.MustCompile(`(?m:\AZookeeper version: ([A-Za-z0-9\.\-]+), built on .*\n` +
	`^Latency min/avg/max: (\d+)/([0-9.]+)/(\d+).*\n` +
	`^Received: (\d+).*\n^Sent: (\d+).*\n^Connections: (\d+).*\n^Outstanding: (\d+).*\n` +
	`^Zxid: (0x[A-Za-z0-9]+).*\n^Mode: (\w+).*\n^Node count: (\d+))`)

func TestSrvr(t *testing.T) {
	servers := hosts(t)
	oldDates := true
	leaders := 0
	for _, server := range servers {
		text := word(t, server, "srvr")
		fields := srvr.FindStringSubmatch(text)
		if fields == nil {
			t.Fatalf("the client finds nothing in %s", text)
		}
		if fields[10] == "leader" || fields[10] == "standalone" {
			leaders++
		}
		oldDates = oldDates && regexp.MustCompile(`built on \d\d/\d\d/\d{4} `).MatchString(text)
	}
	same(t, leaders, 1)
	if !oldDates {
		return // the client's helper cannot read this server, as it cannot read ZooKeeper since 3.6
	}
	stats, fine := zk.FLWSrvr(servers, waitMax)
	same(t, fine, true)
	for _, each := range stats {
		must(t, each.Error)
		same(t, each.NodeCount >= 4, true)
	}
}

func TestCons(t *testing.T) {
	c := connect(t)
	_, _, err := c.Exists("/")
	must(t, err)
	servers, _ := zk.FLWCons(hosts(t), waitMax)
	found := false
	for _, each := range servers {
		for _, other := range each.Clients {
			if other.SessionID == c.SessionID() {
				found = true
				same(t, other.Timeout, 10000)
				same(t, other.Received >= 1, true)
				same(t, time.Since(other.Established) < time.Hour, true)
			}
		}
	}
	if !found {
		t.Fatalf("session %#x is at no server", c.SessionID())
	}
}

func TestMntr(t *testing.T) {
	for _, server := range hosts(t) {
		text := word(t, server, "mntr")
		for _, key := range []string{"zk_version", "zk_server_state", "zk_znode_count", "zk_watch_count", "zk_num_alive_connections"} {
			if !regexp.MustCompile(`(?m)^` + key + `\t\S+`).MatchString(text) {
				t.Fatalf("no %s in %s", key, text)
			}
		}
	}
}

func word(t *testing.T, server, name string) string {
	t.Helper()
	wire, err := net.DialTimeout("tcp", server, waitMax)
	must(t, err)
	defer wire.Close()
	_, err = wire.Write([]byte(name))
	must(t, err)
	text, err := io.ReadAll(wire)
	must(t, err)
	return string(text)
}
