// Package presence exchanges what the gateways of a fleet run, by the keys gateways/NAME
// on leases. FLEET.md has the format of the values.
//
//	Open -> Claim    writes this gateway's key; fails if another host has the name
//	     -> Run      writes it again every Beat, follows the keys of the others, and logs
//	                 what differs: a line when it begins, and one when it ends
//	     -> Close    ends the lease, and so deletes the key
//	Read             what all gateways run, for a command
//	Compare          what differs between two gateways
//
// Nothing here decides about a knock: a false value can mislead an operator only.
//
// Memory: at most MaxGateways values of at most maxValue bytes. Log: at most a line a
// minute for each gateway and each part of its value.
//
// Goroutines: the two of Run. The mutex protects what they share.
package presence
