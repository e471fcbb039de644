// Package systemd reports the state of the server to the service manager that started it,
// by the protocol of sd_notify(3), keeps its watchdog content, and uses its store of
// descriptors.
package systemd

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// Notifier sends states to a service manager. The zero value has none, and sends nothing.
// It may be used concurrently.
type Notifier struct {
	socket   string        // a path, or "@" and a name in the abstract namespace
	watchdog time.Duration // how long the manager waits for a sign of life; 0: it does not

	store      int // how many descriptors it stores
	storeKnown bool
}

// FromEnvironment returns the notifier of this process.
func FromEnvironment(getenv func(string) string) Notifier {
	n := Notifier{socket: getenv("NOTIFY_SOCKET")}
	microseconds, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	pid := getenv("WATCHDOG_PID")
	if err == nil && microseconds > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(microseconds) * time.Microsecond
	}
	if text := getenv("FDSTORE"); text != "" {
		n.store, _ = strconv.Atoi(text)
		n.storeKnown = true
	}
	return n
}

// patience is how long Send waits for a place in the manager's queue, which every user of the
// host can fill.
const patience = 2 * time.Second

// Send sends a state, such as "STOPPING=1", within two seconds, or not at all. The manager
// finds out by itself.
func (n Notifier) Send(state string) { n.try(state) }

// SendUntil sends a state, and tries again while the manager's queue is full, until ctx ends.
func (n Notifier) SendUntil(ctx context.Context, state string) {
	for os.IsTimeout(n.try(state)) && ctx.Err() == nil {
	}
}

func (n Notifier) try(state string) error {
	if n.socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", n.socket)
	if err != nil {
		return err // the manager runs into its own timeout
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(patience))
	_, err = conn.Write([]byte(state))
	return err
}

// KeepAlive sends signs of life until ctx ends, while alive returns true. Without a
// watchdog it returns at once.
func (n Notifier) KeepAlive(ctx context.Context, alive func() bool) {
	if n.socket == "" || n.watchdog <= 0 {
		return
	}
	ticker := time.NewTicker(max(n.watchdog/2, time.Millisecond)) // as sd_watchdog_enabled(3) recommends
	defer ticker.Stop()
	for {
		if alive() {
			n.SendUntil(ctx, "WATCHDOG=1")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
