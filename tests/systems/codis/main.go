package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

const (
	slots = 1024
	root  = "/codis3/product"
	jodis = "/jodis/product"
)

type slot struct {
	ID    int `json:"id"`
	Group int `json:"group_id"`
}

func slotPath(id int) string {
	return fmt.Sprintf("%s/slots/slot-%04d", root, id)
}

// keep holds a proxy's ephemeral znode: made again whenever it is lost, as the proxies of Codis do for their clients.
func keep(s *store, token string) {
	for first := true; ; first = false {
		_, signal, err := s.createEphemeral(jodis+"/proxy-"+token, []byte(`{"addr":"127.0.0.1","state":"online"}`), 0)
		if err != nil {
			time.Sleep(100 * time.Millisecond) // until the session that had it is gone, or a server is there again
			continue
		}
		fmt.Println("ONLINE", token, first)
		<-signal
	}
}

// follow tells the proxies whenever there are others.
func follow(s *store) {
	last := "?"
	for {
		names, signal, err := s.watch(jodis)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if now := strings.Join(names, ","); now != last {
			last = now
			fmt.Println("PROXIES", now)
		}
		<-signal
	}
}

// assign writes every slot's group, as a dashboard does that moves slots.
func assign(s *store, group int) error {
	for id := 0; id < slots; id++ {
		text, err := json.Marshal(slot{id, group})
		if err != nil {
			return err
		}
		if err := s.update(slotPath(id), text); err != nil {
			return fmt.Errorf("slot %d: %w", id, err)
		}
	}
	return nil
}

func check(s *store, group int) error {
	for id := 0; id < slots; id++ {
		text, err := s.read(slotPath(id))
		if err != nil {
			return fmt.Errorf("slot %d: %w", id, err)
		}
		var found slot
		if err := json.Unmarshal(text, &found); err != nil {
			return err
		}
		if found != (slot{id, group}) {
			return fmt.Errorf("slot %d is %+v", id, found)
		}
	}
	return nil
}

func obey(s *store, words []string) error {
	switch words[0] {
	case "acquire":
		return s.create(root+"/topom", []byte(words[1]))
	case "owner":
		text, err := s.read(root + "/topom")
		if err != nil {
			return err
		}
		fmt.Println("OWNER", string(text))
		return nil
	case "release":
		return s.remove(root + "/topom")
	case "assign", "check":
		group, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		if words[0] == "assign" {
			return assign(s, group)
		}
		return check(s, group)
	case "proxy":
		go keep(s, words[1])
		return nil
	case "follow":
		go follow(s)
		return nil
	case "candidate":
		made, _, err := s.createEphemeral("/codis3/candidates/", []byte(words[1]), zk.FlagSequence)
		fmt.Println("CANDIDATE", made)
		return err
	}
	return fmt.Errorf("what is %q?", words[0])
}

func main() {
	user, secret, _ := strings.Cut(os.Args[2], ":")
	s, err := open(strings.Split(os.Args[1], ","), user, secret)
	if err != nil {
		fmt.Println("ERROR", err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := obey(s, strings.Fields(lines.Text())); err != nil {
			fmt.Println("ERROR", err)
		} else {
			fmt.Println("OK")
		}
	}
}
