package firewall

import (
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// pendingTransactions are our transactions of which Keep has not yet received
// the events. The kernel reports with each change the number of the socket that
// made it, and it reports the end of each transaction. Another program can get
// the number of a closed socket: so each number counts for one transaction.
type pendingTransactions struct {
	mu       sync.Mutex
	watched  bool           // Keep runs
	expected map[uint32]int // transactions, by the number of their socket
	last     uint32         // socket of the last transaction
}

// watch starts or stops the recording, and forgets earlier transactions.
func (p *pendingTransactions) watch(watched bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched, p.expected = watched, map[uint32]int{}
}

func (p *pendingTransactions) begin(socket uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last = socket; p.watched {
		p.expected[socket]++
	}
}

// failed undoes the last begin: a transaction that fails changes nothing.
func (p *pendingTransactions) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watched {
		p.end(p.last)
	}
}

func (p *pendingTransactions) end(socket uint32) {
	if p.expected[socket]--; p.expected[socket] <= 0 {
		delete(p.expected, socket)
	}
}

// foreign reports whether a message of the kernel describes a change to our
// table that another program made.
func (p *pendingTransactions) foreign(m netlink.Message) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ours := p.expected[m.Header.PID] > 0
	if m.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
		if ours {
			p.end(m.Header.PID)
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
		socket, err := socketNumber(c)
		if err == nil {
			t.pending.begin(socket)
		}
		return err
	})
}

// commit sends a transaction. If it fails, the kernel applies no part of it.
func (t *Table) commit(batch *nftables.Conn) error {
	err := batch.Flush()
	if err != nil {
		t.pending.failed()
	}
	return explain(err)
}

// socketNumber returns the kernel's number of a netlink socket.
func socketNumber(c *netlink.Conn) (number uint32, err error) {
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
