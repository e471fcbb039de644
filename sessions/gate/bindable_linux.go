package gate

import (
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/sockfilter"
)

// Bindable reports whether a service could bind the port host:port of a
// network, "tcp" or "udp": it binds the port, closed, and releases it. Other
// hosts cannot observe that. The host is empty, for all addresses, or an IP
// address. A heldport.InUseError names the program that has the port.
func Bindable(network, address string) error {
	if network == "udp" {
		u, err := heldport.BindUDP(address, sockfilter.DenyAll)
		if err == nil {
			u.Close()
		}
		return err
	}
	t, err := heldport.BindTCP(address, sockfilter.DenyAll)
	if err == nil {
		t.Close()
	}
	return err
}
