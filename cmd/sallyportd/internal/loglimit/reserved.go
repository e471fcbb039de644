package loglimit

// leftOut is the message of a summary.
const leftOut = "log lines left out"

// reserved are the kinds of lines that no client can cause as often as it likes, and that
// an administrator must not miss. They have separate places, and are written first.
var reserved = map[string]bool{
	leftOut: true, "log lines dropped": true,
	"serving": true, "stopped": true, "reloaded": true, "nothing reloaded": true,
	"reload failed half-way; stopping": true, "profiles outdated": true,

	"client revoked": true, "rights reduced": true, "clients expired": true, "old secret expired": true,
	"rights reduced despite a rejected clients file":          true,
	"rights reduced until the list of clients changes":        true,
	"client revoked until the next read of the clients file":  true,
	"clients missing from the clients file; rejecting knocks": true,
	"cut off clients missing from the clients file":           true,
	"list of clients applied":                                 true,
	"list of clients in etcd refused":                         true,
	"operation counted from zero":                             true,
	"client resynchronised":                                   true,
	"trace began; filters are open for this identifier":       true,
	"trace ended": true,

	"server rejected": true, "request refused": true,
	"firewall holder lost; all leases end, nothing opens":      true,
	"firewall holder lost; leases wait for the next one":       true,
	"firewall holder connected; everything is closed":          true,
	"firewall holder connected; leases open again":             true,
	"firewall holder silent; nothing opens until it continues": true,
	"firewall holder continues":                                true,
	"server connection lost; everything is closed":             true,
	"server connection failed":                                 true,
	"server stopped; everything is closed":                     true,
	"firewall table claimed; everything is closed":             true,
	"firewall table no longer guarded":                         true,
	"firewall table was changed by another program; restored":  true,
	"holding the firewall":                                     true,
	"holding the shield":                                       true,
	"runner lost; its services stay closed":                    true,
	"shield gone; the sockets go on":                           true,
	"etcd unavailable; nothing opens":                          true,
	"etcd answers":                                             true,
	"failed to record nonces; rejecting all grants":            true,
	"state file writable again":                                true,
	"self-test missed":                                         true, "self-test passes again": true, "self-test missed; watchdog no longer notified": true,
	"wall clock stepped": true,

	"services on trial; they open to anyone unless confirmed":      true,
	"trial ended by command; services closed for good":             true,
	"trial confirmed; services closed for good":                    true,
	"trial over without confirmation; services open to anyone":     true,
	"trial not confirmed; services open to anyone":                 true,
	"trial not confirmed; services open to anyone when it is over": true,
	"firewall table claimed; some services are on trial":           true,
	"firewall table removed; services open to anyone":              true,
	"firewall table stays; services closed":                        true,
	"firewall table not verified":                                  true,
}

func isReserved(kind string) bool { return reserved[kind] }
