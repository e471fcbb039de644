package nftcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// attempts is how often a ruleset is read, if it changes meanwhile.
	attempts = 5
	// timeLimit bounds one reading of the ruleset, and one judgement of it.
	timeLimit = 2 * time.Second
	// maxElements bounds the elements that are read of one set.
	maxElements = 1 << 18
)

// errChanging means that the ruleset changed during each reading.
var errChanging = errors.New("the ruleset keeps changing while it is read")

// source reads from the kernel, or in tests from a list of messages.
type source interface {
	// dump returns the messages that answer a request, without their headers.
	dump(kind uint16, family byte, request []byte) ([][]byte, error)
}

// kernel asks nftables in this process's network namespace. It needs
// CAP_NET_ADMIN.
type kernel struct {
	conn       *netlink.Conn
	generation uint16 // of the ruleset, its lowest bits; valid if asked
	asked      bool
	changed    bool // while it was read
}

func dial() (*kernel, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		conn.Close()
		return nil, err
	}
	return &kernel{conn: conn}, nil
}

// header is that of messages of nfnetlink: family, version, generation.
const headerLen = 4

func (k *kernel) dump(kind uint16, family byte, request []byte) ([][]byte, error) {
	answers, err := k.conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, request...),
	})
	if errors.Is(err, syscall.EINTR) {
		k.changed = true
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	messages := make([][]byte, 0, len(answers))
	for _, a := range answers {
		if len(a.Data) < headerLen {
			return nil, fmt.Errorf("expected a header of %d bytes, got %d bytes", headerLen, len(a.Data))
		}
		generation := binary.BigEndian.Uint16(a.Data[2:])
		if a.Header.Flags&netlink.DumpInterrupted != 0 || k.asked && generation != k.generation {
			k.changed = true
		}
		k.generation, k.asked = generation, true
		messages = append(messages, a.Data)
	}
	return messages, nil
}

// use reads the ruleset, and calls f to judge it. A ruleset that changed
// meanwhile is read and judged again, up to attempts times; then the last
// judgement stands, and use returns errChanging. Other errors are those of
// reading.
func use(f func(*ruleset)) error {
	begin := time.Now()
	for i := 1; ; i++ {
		changed, err := useOnce(f)
		if err != nil && !changed {
			return err
		}
		if !changed {
			return nil
		}
		if i == attempts || time.Since(begin) > timeLimit {
			if err != nil {
				return err
			}
			return errChanging
		}
	}
}

func useOnce(f func(*ruleset)) (changed bool, err error) {
	k, err := dial()
	if err != nil {
		return false, err
	}
	defer k.conn.Close()
	r, err := read(k)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("the kernel took longer than %s", timeLimit)
		}
		return k.changed, err
	}
	end := time.Now().Add(timeLimit)
	r.expired = func() bool { return time.Now().After(end) }
	f(r)
	return k.changed, nil
}
