package cluster

import (
	"runtime"
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
)

// TestReconnections: connections that end again and again leave nothing behind.
func TestReconnections(t *testing.T) {
	e, g := gateway(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: g.Endpoints(), Timeout: 10 * time.Second})
	m := follow(t, c, "")
	cycle := func(key string) {
		t.Helper()
		g.To(0).Cut()
		g.To(0).Heal()
		must(t, func() error { return put(t, c, "a", key) })
	}
	cycle("before")
	m.wait(t, "a", func() bool { return m.keys["a"] == "before" })
	before := runtime.NumGoroutine()
	for range 30 {
		cycle("x")
	}
	if _, err := e.Root().Put(t.Context(), DefaultPrefix+"a", "after"); err != nil {
		t.Fatal(err)
	}
	m.wait(t, "a change after the last one", func() bool { return m.keys["a"] == "after" })
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
