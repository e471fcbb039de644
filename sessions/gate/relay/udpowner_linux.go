package relay

import (
	"net"
	"time"

	"sallyport/sessions/gate/sockowner"
)

// ownerPause is the time after which a flow checks again to whom its upstream
// belongs. UDP has no connection that would end with the program.
const ownerPause = time.Second

// checkOwner checks to whom the socket belongs that receives what conn sends.
func (u *UDP) checkOwner(conn *net.UDPConn) error {
	if u.cfg.OwnerUID == nil {
		return nil
	}
	owner, err := sockowner.Receiver(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr()))
	return sockowner.Require(owner, *u.cfg.OwnerUID, err)
}

// owned reports whether the flow may use conn: it checks the owner again after
// ownerPause. A flow that may not must end. Both directions of a flow call it.
func (f *flow) owned(conn *net.UDPConn) bool {
	if f.relay.cfg.OwnerUID == nil {
		return true
	}
	last, now := f.checked.Load(), int64(f.relay.now())
	if now-last < int64(ownerPause) || !f.checked.CompareAndSwap(last, now) {
		return f.disowned.Load() == nil
	}
	if err := f.relay.checkOwner(conn); err != nil {
		f.disowned.Store(&err)
		return false
	}
	return true
}
