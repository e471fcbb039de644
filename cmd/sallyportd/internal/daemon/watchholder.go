package daemon

import (
	"context"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/gate/holder"
)

// holderWait is how long leases wait for the next holder. A restart of "firewall hold",
// by hand or by systemd after a crash, takes a second.
const holderWait = 10 * time.Second

// watchHolder fails when a holder that this server has started dies: there is no
// other one, and nothing can be opened. If "firewall hold" dies, it waits for the
// next. Until then nothing new opens: the firewall refuses each grant. The leases in
// force go on, and the next holder, which begins by closing everything, gets them for
// the time that they have left. If none comes within holderWait, all leases end.
func (s *Server) watchHolder(ctx context.Context, fail func()) error {
	log, last := s.env.Log, ""
	var over *time.Timer // ends all leases
	defer func() {
		if over != nil {
			over.Stop()
		}
	}()
	err := s.holder.Run(ctx, holder.Events{
		Lost: func(why error) {
			log.Warn("firewall holder lost; leases wait for the next one", "error", why)
			s.observed.holderLost()
			// Not after an attempt: that of a holder that does not answer takes longer.
			over = time.AfterFunc(holderWait, func() {
				log.Error("firewall holder lost; all leases end, nothing opens", "error", why)
				s.gate.EndAll()
			})
			s.shield.lost(why) // which waits for the receiver
		},
		Tried: func(why error) {
			if text := why.Error(); text != last {
				last = text
				log.Warn("firewall holder unreachable; retrying", "error", why)
			}
		},
		Found: func() {
			last = ""
			if over != nil { // it may end leases at this moment: they are not applied again
				over.Stop()
			}
			s.observed.holderFound()
			// First the connections of clients that have lost the right meanwhile.
			if err := s.firewall.Resume(); err != nil {
				log.Error("failed to cut connections of revoked clients", "error", err)
			}
			if leases := s.gate.Reapply(s.firewall); leases > 0 {
				log.Info("firewall holder connected; leases open again", "with_leases", leases)
			} else {
				log.Info("firewall holder connected; everything is closed")
			}
			s.knocks.reopenAll()
			s.shield.found()
			s.kept.wakeUp() // and the leases without an end that have ended open again
		},
		Silent: func() {
			log.Error("firewall holder silent; nothing opens until it continues", "hint", "if it does not continue, restart it, or the server that has started it; the server gives it up after a minute")
		},
		Continues: func() {
			log.Info("firewall holder continues")
			if err := s.firewall.Resume(); err != nil {
				log.Error("failed to cut connections of revoked clients", "error", err)
			}
		},
	})
	if err == nil {
		return nil
	}
	fail()
	return hint.With(err, "the firewall stays closed; start the server again, with CAP_NET_ADMIN as before")
}
