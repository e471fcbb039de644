// Package grants makes a grant of one gateway open at all gateways of a fleet. GRANTS.md
// has the keys, the format of the values, and the rules with their reasons.
//
//	sessions.Grant -> Open      the nonces are recorded, and the services here are open
//	  -> sender       the newest operation of each key; never more than three a client
//	  -> send         the datagrams, made again, and a tag, under a lease of etcd,
//	                  after the gateway's own mark: see mark.go
//	etcd -> Follow    a snapshot, and then all changes
//	  -> parseValue, authenticate   did the client make the datagrams, and a gateway that
//	                  has the client's secret the value?
//	  -> book         is it new, and has it time left? A pure function
//	  -> Record       are the nonces in the record of the fleet? If this gateway has not
//	                  seen that, waiting has the value until etcd was asked (ask)
//	  -> gate.Services.OpenShared   the rights of the client here, and open_for
//	key deleted -> book -> CloseShared
//
// Closed and Withdraw are Open for closing attempts, and for revocations.
//
// Memory: the book has an entry for each secret and key of which a grant was accepted
// lately, so it grows by recorded attempts of clients only.
//
// Goroutines: those of Run, and the callers of Open, Closed and Withdraw, which never wait
// for etcd.
package grants
