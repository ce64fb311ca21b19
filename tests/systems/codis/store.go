// A program that asks of ZooKeeper what Codis asks of it, through the client that Codis has: the coordination of a
// sharded Redis. Commands come as lines and are answered by lines; main.go has them.
//
// This file is the store: znodes made with all that is above them, updated whether they are there or not, ephemeral ones
// with a signal for the day they change, children in order with a signal too, and a new connection when an error is not
// one of the tree's.
package main

import (
	"path"
	"sort"
	"sync"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

const sessionTimeout = 5 * time.Second

type store struct {
	lock    sync.Mutex
	servers []string
	user    string
	secret  string
	conn    *zk.Conn
	dialled time.Time
}

type silent struct{}

func (silent) Printf(string, ...interface{}) {}

func open(servers []string, user, secret string) (*store, error) {
	s := &store{servers: servers, user: user, secret: secret}
	return s, s.dial()
}

func (s *store) dial() error {
	conn, events, err := zk.Connect(s.servers, sessionTimeout, zk.WithLogger(silent{}))
	if err != nil {
		return err
	}
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.dialled = conn, time.Now()
	go func() {
		for range events {
		}
	}()
	if s.user != "" {
		return conn.AddAuth("digest", []byte(s.user+":"+s.secret))
	}
	return nil
}

// do runs one call; what is no answer of the tree's makes a new connection, once a second at most.
func (s *store) do(call func(*zk.Conn) error) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	err := call(s.conn)
	switch err {
	case nil, zk.ErrNoNode, zk.ErrNodeExists, zk.ErrNotEmpty:
		return err
	}
	if time.Since(s.dialled) > time.Second {
		_ = s.dial() // the next call tells
	}
	return err
}

func (s *store) acl(permissions int32) []zk.ACL {
	if s.user != "" {
		return zk.DigestACL(permissions, s.user, s.secret)
	}
	return zk.WorldACL(permissions)
}

func (s *store) mkdir(conn *zk.Conn, name string) error {
	if name == "" || name == "/" {
		return nil
	}
	there, _, err := conn.Exists(name)
	if err != nil || there {
		return err
	}
	if err := s.mkdir(conn, path.Dir(name)); err != nil {
		return err
	}
	if _, err := conn.Create(name, []byte{}, 0, s.acl(zk.PermAll)); err != nil && err != zk.ErrNodeExists {
		return err
	}
	return nil
}

func (s *store) make(conn *zk.Conn, name string, data []byte, flags int32) (string, error) {
	if err := s.mkdir(conn, path.Dir(name)); err != nil {
		return "", err
	}
	return conn.Create(name, data, flags, s.acl(zk.PermAdmin|zk.PermRead|zk.PermWrite))
}

func (s *store) create(name string, data []byte) error {
	return s.do(func(conn *zk.Conn) error {
		_, err := s.make(conn, name, data, 0)
		return err
	})
}

// createEphemeral gives a channel that is closed when the znode changes or the client loses sight of it.
func (s *store) createEphemeral(name string, data []byte, flags int32) (made string, signal <-chan zk.Event, err error) {
	err = s.do(func(conn *zk.Conn) error {
		if made, err = s.make(conn, name, data, zk.FlagEphemeral|flags); err != nil {
			return err
		}
		_, _, signal, err = conn.GetW(made)
		return err
	})
	return made, signal, err
}

func (s *store) update(name string, data []byte) error {
	return s.do(func(conn *zk.Conn) error {
		there, _, err := conn.Exists(name)
		if err != nil {
			return err
		}
		if !there {
			if _, err := s.make(conn, name, data, 0); err != nil && err != zk.ErrNodeExists {
				return err
			}
		}
		_, err = conn.Set(name, data, -1)
		return err
	})
}

func (s *store) remove(name string) error {
	err := s.do(func(conn *zk.Conn) error { return conn.Delete(name, -1) })
	if err == zk.ErrNoNode {
		return nil
	}
	return err
}

func (s *store) read(name string) (data []byte, err error) {
	err = s.do(func(conn *zk.Conn) error {
		data, _, err = conn.Get(name)
		return err
	})
	return data, err
}

// watch gives the children in order, and a channel for their next change.
func (s *store) watch(name string) (names []string, signal <-chan zk.Event, err error) {
	err = s.do(func(conn *zk.Conn) error {
		if err := s.mkdir(conn, name); err != nil {
			return err
		}
		names, _, signal, err = conn.ChildrenW(name)
		sort.Strings(names)
		return err
	})
	return names, signal, err
}
