package legacy

import (
	"fmt"
	"net/netip"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/udp"
)

// checkReach returns an error if no client can open the service. A lease is for the
// address that knocked, and a client has another address where it cannot knock. The
// first implementation opened for all addresses, so there it worked.
func checkReach(path, listen string, service *config.Service) error {
	knocks, err := netip.ParseAddr(listen)
	if err != nil {
		return nil // a name, which the server resolves
	}
	serves := service.Addresses()
	knocks4, knocks6 := udp.Addresses{knocks}.Families()
	serves4, serves6 := serves.Families()
	switch {
	case !(knocks4 && serves4 || knocks6 && serves6):
		return hint.With(fmt.Errorf("%s: bind-address: expected an address of the family of service-bind=%s, got %s: "+
			"a client that knocks over the one family cannot connect over the other", path, serves[0], listen),
			"set bind-address=::, which receives IPv4 too, or change service-bind")
	case !knocks.IsUnspecified() && len(serves) == 1 && !serves[0].IsUnspecified() && knocks.IsLoopback() != serves[0].IsLoopback():
		return hint.With(fmt.Errorf("%s: bind-address: expected an address from which a client also reaches service-bind=%s, got %s: "+
			"only one of the two is on the loopback, where a client has another address", path, serves[0], listen),
			"set bind-address=0.0.0.0 or bind-address=::, or change service-bind")
	}
	return nil
}
