package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/bench/target"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// server4 is the address of the server on the link of the test.
const server4 = "198.51.100.1"

// floodVariable sets a longer flood than the default, such as "60s".
const floodVariable = "SALLYPORT_TEST_FLOOD"

// TestFloodLeavesMemoryAlone floods a server with datagrams from random addresses and
// with random identifiers, some of which reach its HMACs. Its resident memory does
// not grow.
func TestFloodLeavesMemoryAlone(t *testing.T) {
	t.Parallel()
	plainProgram(t)
	if !netns.Enter(t) {
		return
	}
	length := 5 * time.Second
	if testing.Short() {
		length = time.Second
	}
	if d, err := time.ParseDuration(os.Getenv(floodVariable)); err == nil {
		length = d
	}
	dir := t.TempDir()
	makeGuests(t, dir)
	path := filepath.Join(dir, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `listen = ["127.0.0.1"]`, "kernel_filter = false", 1)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	host := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{server4 + "/24"}}, host, netns.End{Name: "cli", Addresses: []string{"198.51.100.2/24"}})
	v := startProgram(t, plainProgram(t), dir)
	// At first the server allocates memory once, and touches it. On a busy machine
	// that takes longer.
	const limit = 1 << 20
	before := resident(t, v)
	for range 10 {
		floodFor(t, host, time.Second)
		now := resident(t, v)
		settled := int64(now)-int64(before) < limit/8
		if before = now; settled {
			break
		}
	}
	before = resident(t, v)
	sent := floodFor(t, host, length)
	after := resident(t, v)
	grown := int64(after) - int64(before)
	t.Logf("%d datagrams in %s: resident memory %d KiB before, %d KiB after", sent, length, before>>10, after>>10)
	v.stop(t, 0)
	if !strings.Contains(v.log(), "identifier=") || !strings.Contains(v.log(), "mac=") {
		t.Errorf("the flood did not come through:\n%s", v.log())
	}
	if grown >= limit {
		t.Errorf("resident memory grew by %d bytes", grown)
	}
}

// plainVariable is a path of the program without the race detector.
const plainVariable = "SALLYPORT_TEST_PLAIN"

// plainProgram returns a path of the program without the race detector, whose own
// memory grows in a flood. It must be called before netns.Enter, too.
func plainProgram(t *testing.T) string {
	t.Helper()
	if !race.Enabled {
		return "/proc/self/exe"
	}
	if path := os.Getenv(plainVariable); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "sallyportd")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	os.Setenv(plainVariable, path)
	return path
}

// floodFor sends datagrams to the live ports, from random addresses, most of them with
// random identifiers.
func floodFor(t *testing.T, host *netns.Host, length time.Duration) (sent int) {
	t.Helper()
	err := host.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := netip.MustParseAddr(server4).As4()
		packet := make([]byte, 28+wire.Size)
		packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
		binary.BigEndian.PutUint16(packet[24:], 8+wire.Size)
		copy(packet[16:], to[:])
		knock := packet[28:]
		copy(knock, wire.Magic)
		knock[wire.OffsetMaximum] = 1
		var ports []uint16
		for end := time.Now().Add(length); ; sent++ {
			if sent%1024 == 0 {
				now := time.Now()
				if now.After(end) {
					return nil
				}
				ports, err = schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(now), 2)
				if err != nil {
					return err
				}
				binary.BigEndian.PutUint32(knock[wire.OffsetTimestamp:], uint32(now.Unix()))
			}
			binary.BigEndian.PutUint32(packet[12:], 0x0b000000+rand.Uint32N(0x60000000)) // 11.0.0.0 to 106.255.255.255
			binary.BigEndian.PutUint16(packet[20:], uint16(1024+rand.IntN(60000)))
			sequence := sent % 2
			binary.BigEndian.PutUint16(packet[22:], ports[sequence])
			knock[wire.OffsetSequence] = byte(sequence)
			copy(knock[wire.OffsetIdentifier:], "com0")
			if sent%4 != 0 {
				for i := range len(wire.Identifier{}) {
					knock[wire.OffsetIdentifier+i] = byte(' ' + rand.IntN(95))
				}
			}
			binary.BigEndian.PutUint64(knock[wire.OffsetNonce:], rand.Uint64())
			if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

func resident(t *testing.T, v *victim) int {
	t.Helper()
	n, err := target.Resident(v.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}
