package looks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd
	Window   time.Duration // for each phase, and for each limit
	Progress func(done, of int, what string)
}

// families have the addresses of the server, of the client and of the stranger, and the
// network of a scanner with many addresses.
var families = []struct {
	number                   int
	server, client, stranger netip.Addr
	scanners                 netip.Prefix
}{
	{4, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3"), netip.MustParsePrefix("198.18.0.0/15")},
	{6, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3"), netip.MustParsePrefix("2001:db8:2::/48")},
}

// looks are the services, each over TCP and UDP. The programs of the first two listen.
var looks = []struct {
	name, keys string
	port       uint16
	silent     bool
}{
	{"firewall, drop", "type = \"firewall\"\npolicy = \"drop\"\n", 2000, true},
	{"firewall, reject", "type = \"firewall\"\npolicy = \"reject\"\n", 2001, false},
	{"proxy, filtered", "type = \"proxy\"\nupstream = \"127.0.0.1:9\"\nlook = \"filtered\"\n", 2002, true},
	{"proxy, closed", "type = \"proxy\"\nupstream = \"127.0.0.1:9\"\nlook = \"closed\"\n", 2003, false},
}

const (
	closedPort = 2009 // nothing has it
	knocks     = 3
)

func services() (text string) {
	for _, l := range looks {
		for _, protocol := range []string{"tcp", "udp"} {
			text += fmt.Sprintf("[[service]]\nname = \"%s-%d\"\nprotocol = %q\nlisten = \":%d\"\nopen_for = \"1h\"\n%s", protocol, l.port, protocol, l.port, l.keys)
		}
	}
	return text
}

// testbed is the two hosts.
type testbed struct {
	Config
	outside *netns.Host
	*wire
	source uint16 // of the last probe
}

// Run measures. The caller must be root in its namespaces, and alone in them.
func Run(ctx context.Context, cfg Config) (results []Result, err error) {
	dir, err := os.MkdirTemp("", "floodbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &testbed{Config: cfg, source: 20000}
	if err := w.connect(); err != nil {
		return nil, fmt.Errorf("create the network: %w", err)
	}
	defer w.outside.Close()
	defer w.close()
	const steps = 6
	cfg.Progress(0, steps, "limits of ICMP errors")
	limits, err := w.limits(ctx)
	if err != nil {
		return nil, err
	}
	samples := make([]map[key]*sample, len(Phases))
	look := func(phase int) (err error) {
		cfg.Progress(1+phase, steps, Phases[phase])
		samples[phase], err = w.look(ctx)
		return err
	}
	if err := errors.Join(unlimited(), look(0)); err != nil {
		return nil, err
	}
	server, err := target.StartServer(ctx, target.ServerConfig{
		Binary: cfg.Server, Dir: filepath.Join(dir, "gate"), Address: families[0].server.String(),
		Web: 8080, Ports: knocks, Clients: 1, Core: target.AnyCore, Strict: true, More: services(),
	})
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	// The programs behind the firewall.
	for _, l := range looks[:2] {
		program, err := net.Listen("tcp", fmt.Sprintf(":%d", l.port))
		if err != nil {
			return nil, err
		}
		defer program.Close()
	}
	if err := look(1); err != nil {
		return nil, err
	}
	var captured [][]scenario.Shot
	for i := range families {
		shots, err := w.knock(server, i, uint32(i*knocks))
		if err != nil {
			return nil, err
		}
		captured = append(captured, shots)
	}
	if err := w.reaches(true); err != nil {
		return nil, err
	}
	if err := look(2); err != nil {
		return nil, err
	}
	cfg.Progress(5, steps, "replays")
	replays, err := w.replay(captured)
	if err != nil {
		return nil, err
	}
	revoke := exec.CommandContext(ctx, cfg.Server, "client", "revoke", server.Profiles[0].Identifier.String(), "-c", filepath.Join(dir, "gate", "sallyportd.toml"))
	if out, err := revoke.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("revoke the client: %w\n%s", err, out)
	}
	if err := errors.Join(w.reaches(false), look(3)); err != nil {
		return nil, err
	}
	cfg.Progress(steps, steps, "done")
	return append(append(compare(samples), replays...), limits...), nil
}

// connect makes the other host, and the link. Packets to the scanners' networks go there.
func (w *testbed) connect() (err error) {
	if err := netns.LoopbackUp(); err != nil {
		return err
	}
	if w.outside, err = netns.New(); err != nil {
		return err
	}
	var here, there netns.End
	here.Name, there.Name = "inner", "outer"
	for _, f := range families {
		length := map[int]string{4: "/24", 6: "/64"}[f.number]
		here.Addresses = append(here.Addresses, f.server.String()+length)
		there.Addresses = append(there.Addresses, f.client.String()+length, f.stranger.String()+length)
	}
	link, err := netns.Join(here, w.outside, there)
	if err != nil {
		return err
	}
	inner, err := net.InterfaceByName("inner")
	if err != nil {
		return err
	}
	for _, f := range families {
		_, network, err := net.ParseCIDR(f.scanners.String())
		if err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: inner.Index, Dst: network, Gw: f.client.AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("route %s by %s: %w", network, link.Attrs().Name, err)
		}
	}
	f := families[0]
	from, to := netip.AddrPortFrom(f.stranger, 9), netip.AddrPortFrom(f.server, markPort)
	w.wire, err = openWire(w.outside, "outer", inner.HardwareAddr, whole(from, to, protocolTCP, segment(from, to, flagSYN, nil)))
	return err
}

// pinned calls f on one processor: a mark is answered last because all packets take one
// path there.
func pinned(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// unlimited removes the limits of ICMP errors, which would be in the way of the probes.
func unlimited() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/icmp_ratemask", []byte("0"), 0),
		os.WriteFile("/proc/sys/net/ipv6/icmp/ratemask", []byte("255"), 0), // a type that no kernel sends
	)
}
