package gate

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/relay"
)

// logBuffer is a log that tests read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// line returns the line with a message.
func (l *logBuffer) line(message string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, `msg="`+message+`"`) {
			return line
		}
	}
	return ""
}

// TestAudit: at level debug, a line maps a connection or flow that the upstream sees
// to its client. At level info there is none.
func TestAudit(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		var out logBuffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		seen := make(chan string, 2)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			seen <- c.RemoteAddr().String()
			io.Copy(c, c)
		}()
		tcp := NewTCP(TCPConfig{
			Listen: at(freePort(t)), PrefixLen6: 128, Clock: system, PerAddress: 8, Log: log,
			Handler: NewProxy(relay.TCP{Upstream: relay.Upstream(l.Addr().String())}, log),
		})
		s := serviceOf("proxy", 128, tcp)
		if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", tcp.cfg.Listen)
		if err != nil {
			t.Fatal(err)
		}
		netns.Until(t, "the connection", func() bool { tcp.mu.Lock(); defer tcp.mu.Unlock(); return len(tcp.conns) == 1 })
		tcp.mu.Lock()
		for served := range tcp.conns {
			if !probed(t, served.Conn) {
				t.Error("the kernel does not probe an idle client")
			}
		}
		tcp.mu.Unlock()
		io.WriteString(c, "hello")
		c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		check(t, &out, level, "connection began", "client=com1 address="+c.LocalAddr().String(), "listen="+tcp.cfg.Listen, "local="+<-seen)
		check(t, &out, level, "connection ended", "client=com1", "to_upstream=5", "to_client=5")
		s.close()

		up, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := up.ReadFrom(b)
				if err != nil {
					return
				}
				select {
				case seen <- from.String():
				default:
				}
				up.WriteTo(b[:n], from)
			}
		}()
		udp := NewUDP(UDPConfig{
			Listen: at(freePort(t)), PrefixLen6: 128, Clock: system, Log: log,
			Relay: relay.UDPConfig{Upstream: relay.Upstream(up.LocalAddr().String()), Idle: 100 * time.Millisecond, Log: log},
		})
		s = serviceOf("udp", 128, udp)
		if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		client := udpClient(t, "127.0.0.1", udp.cfg.Listen)
		answered(t, "a flow", client)
		check(t, &out, level, "flow began", "client=com1 address="+client.LocalAddr().String(), "local="+<-seen)
		check(t, &out, level, "flow ended", "client=com1", "to_upstream=", "to_client=")
		s.close()
	}
}

// probed reports whether the kernel probes an idle connection after 15 seconds.
func probed(t *testing.T, c net.Conn) (probed bool) {
	control(c, func(fd int) {
		on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		idle, idleErr := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		probed = err == nil && idleErr == nil && on == 1 && idle == 15
	})
	return probed
}

func check(t *testing.T, out *logBuffer, level slog.Level, message string, parts ...string) {
	t.Helper()
	if level > slog.LevelDebug {
		if got := out.line(message); got != "" {
			t.Errorf("logged %s", got)
		}
		return
	}
	netns.Until(t, message, func() bool { return out.line(message) != "" })
	for _, part := range parts {
		if got := out.line(message); !strings.Contains(got, part) {
			t.Errorf("%q is not in %s", part, got)
		}
	}
}
