// Package line models a line that delays, reorders, loses and duplicates packets,
// and predicts how many exchanges fail on it. Nothing here sends a packet or reads a
// clock; package real forwards the packets of real programs by the same model.
//
//	Line    bandwidth and delay
//	Model   how the network behind it disturbs packets (Bennett et al. 1999,
//	        Paxson 1999)
//	  Path  one direction for one client: Send -> the arrival of each copy
//	  Exchange.Predict  the share of exchanges that fail, by the rules of
//	        verify/challenge/PROTOCOL.md and many random exchanges
//	  Reordering        what the model does to packets, in the terms of the papers
//
// A Path belongs to one goroutine. Paths with the same seed draw the same numbers.
package line
