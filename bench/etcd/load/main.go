// A load for etcd: connections, each with so many requests under way, for a time; prints what came of it as JSON.
//
// Rules: each connection is a client of etcd's own library (clientv3, gRPC), the endpoints get them in turn, and each of its
// `window` requests is a goroutine that asks again when it was answered: the closed loop that fastzk's own load is.  The keys are
// made, and the connections, beforehand.  An error ends the run: its figures would be worth nothing.  A time in which nothing was
// answered, as a smoke test's may be, is repeated with more.
//
//	get     serializable: answered by the member that is asked, as ZooKeeper's and fastzk's getData are
//	lget    linearizable: the member first asks the leader how far it must be
//	put     a key that is there, as setData
//	create  a new key, in a transaction that fails if it is there, as create
//	mix     90 of 100 are get, the rest put
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	requestTimeout = 10 * time.Second
	prepareLanes   = 32 // keys made at one time
	readShare      = 90 // of 100, in mix
)

var errSilence = errors.New("nothing was answered in the time")

type options struct {
	endpoints   []string
	op          string
	connections int
	window      int
	keys        int
	valueBytes  int
	warmUp      time.Duration
	duration    time.Duration
}

// result is what is printed; latencies are in microseconds.
type result struct {
	PerSecond  float64 `json:"per_second"`
	Operations int     `json:"operations"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
}

// lane is one request after the other over one connection.
type lane struct {
	client *clientv3.Client
	chance *rand.Rand
	number int
	asked  int
	// Latencies of what was answered in the measured time.
	took []time.Duration
}

func key(number int) string { return fmt.Sprintf("/bench/k%08d", number) }

// ask does one operation.
func (l *lane) ask(ctx context.Context, o *options, run int64, value string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	l.asked++
	op := o.op
	if op == "mix" {
		op = "put"
		if l.chance.Intn(100) < readShare {
			op = "get"
		}
	}
	switch op {
	case "get", "lget":
		choice := []clientv3.OpOption{}
		if op == "get" {
			choice = append(choice, clientv3.WithSerializable())
		}
		found, err := l.client.Get(ctx, key(l.chance.Intn(o.keys)), choice...)
		if err == nil && (len(found.Kvs) != 1 || len(found.Kvs[0].Value) != o.valueBytes) {
			return errors.New("a key is not as it was made")
		}
		return err
	case "put":
		_, err := l.client.Put(ctx, key(l.chance.Intn(o.keys)), value)
		return err
	case "create":
		name := fmt.Sprintf("/bench/c%016x-%d-%d", run, l.number, l.asked)
		done, err := l.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(name), "=", 0)).Then(clientv3.OpPut(name, value)).Commit()
		if err == nil && !done.Succeeded {
			return fmt.Errorf("%s is there already", name)
		}
		return err
	}
	return fmt.Errorf("no operation is called %q", op)
}

// prepare makes the keys that will be read and set.
func prepare(client *clientv3.Client, o *options, value string) error {
	var next atomic.Int64
	return each(prepareLanes, func(int) error {
		for number := int(next.Add(1)) - 1; number < o.keys; number = int(next.Add(1)) - 1 {
			ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
			_, err := client.Put(ctx, key(number), value)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// each runs so many at one time, and gives the errors of those that failed.
func each(count int, work func(int) error) error {
	failed := make([]error, count)
	var all sync.WaitGroup
	for number := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			failed[number] = work(number)
		}()
	}
	all.Wait()
	return errors.Join(failed...)
}

func connect(o *options) ([]*clientv3.Client, error) {
	clients := make([]*clientv3.Client, 0, o.connections)
	for number := range o.connections {
		client, err := clientv3.New(clientv3.Config{
			Endpoints:   []string{o.endpoints[number%len(o.endpoints)]},
			DialTimeout: requestTimeout,
			Logger:      zap.NewNop(),
		})
		if err != nil {
			return clients, err
		}
		clients = append(clients, client)
	}
	return clients, nil
}

// measure has all lanes ask, and counts what was asked and answered between the warm-up and the end.
func measure(clients []*clientv3.Client, o *options, value string) (result, error) {
	run := rand.Int63()
	lanes := make([]lane, o.connections*o.window)
	begin := time.Now().Add(o.warmUp)
	end := begin.Add(o.duration)
	err := each(len(lanes), func(number int) error {
		l := &lanes[number]
		l.client, l.number, l.chance = clients[number%len(clients)], number, rand.New(rand.NewSource(run+int64(number)))
		for {
			asked := time.Now()
			if asked.After(end) {
				return nil
			}
			if err := l.ask(context.Background(), o, run, value); err != nil {
				return err
			}
			if answered := time.Now(); answered.After(begin) && answered.Before(end) {
				l.took = append(l.took, answered.Sub(asked))
			}
		}
	})
	if err != nil {
		return result{}, err
	}
	var took []time.Duration
	for number := range lanes {
		took = append(took, lanes[number].took...)
	}
	if len(took) == 0 {
		return result{}, errSilence
	}
	sort.Slice(took, func(a, b int) bool { return took[a] < took[b] })
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Nanoseconds()) / 1000
	}
	return result{float64(len(took)) / o.duration.Seconds(), len(took), at(0.50), at(0.99)}, nil
}

func load(o *options) (result, error) {
	clients, err := connect(o)
	defer func() {
		for _, client := range clients {
			client.Close()
		}
	}()
	if err != nil {
		return result{}, err
	}
	value := strings.Repeat("x", o.valueBytes)
	if err := prepare(clients[0], o, value); err != nil {
		return result{}, err
	}
	// A client connects with its first request.
	err = each(len(clients), func(number int) error {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		_, err := clients[number].Get(ctx, key(0))
		return err
	})
	if err != nil {
		return result{}, err
	}
	found, err := measure(clients, o, value)
	for errors.Is(err, errSilence) && o.duration < requestTimeout {
		o.duration *= 4
		found, err = measure(clients, o, value)
	}
	return found, err
}

func main() {
	o := &options{}
	endpoints := flag.String("endpoints", "", "host:port,host:port,...; the connections go round them")
	flag.StringVar(&o.op, "op", "get", "get, lget, put, create or mix")
	flag.IntVar(&o.connections, "connections", 30, "")
	flag.IntVar(&o.window, "window", 50, "requests under way on each connection")
	flag.IntVar(&o.keys, "keys", 1000, "that are read and put")
	flag.IntVar(&o.valueBytes, "value-bytes", 100, "")
	flag.DurationVar(&o.warmUp, "warm-up", 500*time.Millisecond, "before it counts")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "")
	flag.Parse()
	o.endpoints = strings.Split(*endpoints, ",")
	found, err := load(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
