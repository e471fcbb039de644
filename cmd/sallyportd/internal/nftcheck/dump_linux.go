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
	// attempts is how often a ruleset is read that changes meanwhile.
	attempts = 5
	// patience bounds one reading of the ruleset, and one judgement of it.
	patience = 2 * time.Second
	// maxElements bounds what is looked at of one set.
	maxElements = 1 << 18
)

// errChanging says that the ruleset changed while it was read.
var errChanging = errors.New("the ruleset keeps changing while it is read")

// source reads from the kernel, or in tests from elsewhere.
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
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
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
			return nil, fmt.Errorf("got %d bytes, where a header has %d", len(a.Data), headerLen)
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

// use reads the ruleset, and has f judge it. A ruleset that changed meanwhile
// is read and judged again, a few times: the last judgement stands, with
// errChanging. Other errors are those of reading.
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
		if i == attempts || time.Since(begin) > patience {
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
			err = fmt.Errorf("the kernel took longer than %s", patience)
		}
		return k.changed, err
	}
	end := time.Now().Add(patience)
	r.late = func() bool { return time.Now().After(end) }
	f(r)
	return k.changed, nil
}
