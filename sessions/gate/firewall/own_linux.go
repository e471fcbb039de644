package firewall

import (
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// own are transactions of ours that Keep has not heard of yet. The kernel tells
// of each change which socket made it, and of the end of each transaction. The
// number of a closed socket can be another program's next: so each counts once.
type own struct {
	mu       sync.Mutex
	watched  bool           // Keep runs
	expected map[uint32]int // transactions, by their socket's number
	last     uint32         // socket of the last one
}

// watch begins to take down what is ours; what came before is nobody's.
func (o *own) watch(watched bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watched, o.expected = watched, map[uint32]int{}
}

func (o *own) begin(socket uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last = socket; o.watched {
		o.expected[socket]++
	}
}

// failed takes back the last begin: a transaction that fails changes nothing.
func (o *own) failed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watched {
		o.end(o.last)
	}
}

func (o *own) end(socket uint32) {
	if o.expected[socket]--; o.expected[socket] <= 0 {
		delete(o.expected, socket)
	}
}

// foreign reports whether a message of the kernel tells of a change that another
// program has made to our table.
func (o *own) foreign(m netlink.Message) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	ours := o.expected[m.Header.PID] > 0
	if m.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
		if ours {
			o.end(m.Header.PID)
		}
		return false
	}
	if ours || len(m.Data) < 4 || m.Data[0] != byte(table.Family) {
		return false
	}
	changed, err := parseObject(m.Data)
	return err != nil || changed.text(attributeTable) == Name
}

// batch begins a transaction of the table.
func (t *Table) batch() (*nftables.Conn, error) {
	return newBatch(func(c *netlink.Conn) error {
		socket, err := numberOf(c)
		if err == nil {
			t.own.begin(socket)
		}
		return err
	})
}

// commit sends a transaction. If it fails, nothing of it applies.
func (t *Table) commit(batch *nftables.Conn) error {
	err := batch.Flush()
	if err != nil {
		t.own.failed()
	}
	return explain(err)
}

// numberOf is what the kernel calls a netlink socket.
func numberOf(c *netlink.Conn) (number uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var name unix.Sockaddr
	if failed := raw.Control(func(fd uintptr) { name, err = unix.Getsockname(int(fd)) }); failed != nil {
		return 0, failed
	}
	if own, ok := name.(*unix.SockaddrNetlink); ok {
		return own.Pid, nil
	}
	return 0, err
}
