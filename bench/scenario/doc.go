// Package scenario makes the datagrams of each kind of flood, and the honest
// knocks in it. It sends nothing, and builds on all systems.
//
//	All          the kinds of flood
//	Aim          the attacked server: its clients, its ports of this minute
//	Kind.Shots   the datagrams of a kind, each with its destination port
//	Knocks       honest knocks, made by the client library
package scenario
