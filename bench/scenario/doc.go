// Package scenario says what comes: the datagrams of each kind of flood, and
// the honest knocks that ride in it. It sends nothing, and builds everywhere.
//
//	All          the kinds of flood
//	Aim          where a server is hit: its clients, its ports of this minute
//	Kind.Shots   a kind's datagrams, each with the port that it goes to
//	Knocks       honest knocks, by the client library
package scenario
