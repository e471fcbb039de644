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
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
	"sallyport/verify/schedule"
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

// looks are the services, each over TCP and UDP, and a live knock port. The programs of the
// first two listen.
var looks = []struct {
	name, keys string
	port       uint16 // 0: drawn
	silent     bool
	silentUDP  bool // UDP is not answered, and TCP as at a closed port
	stealth    bool // also with stealth
}{
	{name: "firewall, drop", keys: "type = \"firewall\"\npolicy = \"drop\"\n", port: 2000, silent: true, stealth: true},
	{name: "firewall, reject", keys: "type = \"firewall\"\npolicy = \"reject\"\n", port: 2001},
	{name: "proxy, filtered", keys: "type = \"proxy\"\nupstream = \"127.0.0.1:9\"\nlook = \"filtered\"\n", port: 2002, silent: true, stealth: true},
	{name: "proxy, closed", keys: "type = \"proxy\"\nupstream = \"127.0.0.1:9\"\nlook = \"closed\"\n", port: 2003, stealth: true},
	{name: "a knock port", silentUDP: true, stealth: true},
}

const (
	closedPort = 2009 // nothing has it
	webPort    = 8080
	knocks     = 3
)

// policies are those of the host: a server for each.
var policies = []struct {
	name, keys string
	stealth    bool
	groups     []int // of tests off the path
}{
	{"", "on_exit = \"clear\"\n", false, groups},
	{"stealth", "on_exit = \"clear\"\nstealth = true\n", true, stealthGroups},
}

func services() (text string) {
	for _, l := range looks {
		if l.keys == "" {
			continue
		}
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
	source    uint16         // of the last probe
	forged    int            // how many probes have had a forged address
	server    *target.Server // nil: none runs
	knockPort uint16         // live during a phase
	done      int            // steps
}

// step reports what is measured next.
func (w *testbed) step(what string) {
	of := len(policies)*(len(Phases)-1+len([]string{"replays", "scan", "off path"})) + 2
	w.Progress(w.done, of, what)
	w.done++
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
	w.step("limits of ICMP errors")
	limits, err := w.limits(ctx)
	if err != nil {
		return nil, err
	}
	kernel, err := limitsNow()
	if err != nil {
		return nil, err
	}
	if err := none.set(); err != nil {
		return nil, err
	}
	w.step(Phases[0])
	without, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	// The programs behind the firewall.
	for _, l := range looks[:2] {
		program, err := net.Listen("tcp", fmt.Sprintf(":%d", l.port))
		if err != nil {
			return nil, err
		}
		defer program.Close()
	}
	for i := range policies {
		r, err := w.under(ctx, i, filepath.Join(dir, "gate-"+policies[i].name), without, kernel)
		if err != nil {
			return nil, err
		}
		results = append(results, r...)
	}
	w.step("done")
	return append(results, limits...), nil
}

// under measures with a server of a policy. Samples without a server are those of all policies.
func (w *testbed) under(
	ctx context.Context, policy int, dir string, without map[key]*sample, kernel rates,
) (results []Result, err error) {
	server, err := target.StartServer(ctx, target.ServerConfig{
		Binary: w.Server, Dir: dir, Address: families[0].server.String(), Keys: policies[policy].keys,
		Web: webPort, Ports: knocks, Clients: 1, Core: target.AnyCore, Strict: true, More: services(),
	})
	if err != nil {
		return nil, err
	}
	w.server = server
	defer func() {
		w.server = nil
		err = errors.Join(err, server.Stop()) // the next one must find no table
	}()
	samples := []map[key]*sample{without}
	look := func() error {
		w.step(policies[policy].name + " " + Phases[len(samples)])
		s, err := w.look(ctx)
		samples = append(samples, s)
		return err
	}
	if err := look(); err != nil {
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
	if err := errors.Join(w.reaches(true), look()); err != nil {
		return nil, err
	}
	w.step("replays")
	replays, err := w.replay(captured)
	if err != nil {
		return nil, err
	}
	revoke := exec.CommandContext(ctx, w.Server, "client", "revoke", server.Profiles[0].Identifier.String(), "-c", filepath.Join(dir, "sallyportd.toml"))
	if out, err := revoke.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("revoke the client: %w\n%s", err, out)
	}
	if err := errors.Join(w.reaches(false), look()); err != nil {
		return nil, err
	}
	scans, err := w.scans(ctx, kernel, policies[policy].groups)
	if err != nil {
		return nil, err
	}
	results = slices.Concat(compare(samples, policies[policy].stealth), replays, scans)
	for i := range results {
		results[i].Policy = policies[policy].name
	}
	return results, nil
}

// drawKnockPort returns a port that takes knocks for a minute at least.
func (w *testbed) drawKnockPort() (uint16, error) {
	if w.server == nil {
		return closedPort + 1, nil
	}
	p := w.server.Profiles[0]
	ports, err := schedule.Ports(schedule.Algorithm1, p.PortSecret, schedule.MinuteOf(time.Now()), p.Ports)
	for _, port := range ports {
		if port < looks[0].port || port > closedPort {
			return port, err
		}
	}
	return 0, errors.Join(err, errors.New("no knock port apart from the services' ports"))
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

// rates are the limits of ICMP errors: which types have limits.
type rates struct{ mask4, mask6 string }

// none: no error has a limit, which would be in the way of the probes.
var none = rates{"0", "255"} // a type that no kernel sends

const (
	maskFile4 = "/proc/sys/net/ipv4/icmp_ratemask"
	maskFile6 = "/proc/sys/net/ipv6/icmp/ratemask"
)

func limitsNow() (rates, error) {
	four, err4 := os.ReadFile(maskFile4)
	six, err6 := os.ReadFile(maskFile6)
	return rates{string(four), string(six)}, errors.Join(err4, err6)
}

func (r rates) set() error {
	return errors.Join(os.WriteFile(maskFile4, []byte(r.mask4), 0), os.WriteFile(maskFile6, []byte(r.mask6), 0))
}
