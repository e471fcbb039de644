package page

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Plan is what a page does. ID, Secret, Algorithm and RandomPort are those of an operation.
type Plan struct {
	// URL is where the server receives exchanges: https, a host, and perhaps a port;
	// http only for a loopback address.
	URL        string
	ID, Secret string
	Algorithm  exchange.Algorithm
	RandomPort bool
	Close      bool             // the operation closes the service
	Hop        *schedule.HopKey // of requests that age; nil: they do not

	// Public4 and Public6 are PID_B of exchanges over IPv4 and IPv6. The page tries
	// the families of which there is one.
	Public4, Public6 netip.Addr

	Service string        // its name
	Host    string        // by which people reach the service
	Port    uint16        // of the service; 0: none, or RandomPort
	UDP     bool          // of the port
	Scheme  string        // of the service's URL: "https" or "http"; empty: no web service
	OpenFor time.Duration // in whole seconds; 0: until it is closed
	Cut     bool          // connections end with the lease
	Anyone  bool          // the service opens to all addresses
	Uses    int           // how often the operation may be used; 0: without a limit
	Expires time.Time     // from when on the page does nothing; zero: never
}

// ErrNoAddress is the error of a Plan whose page does not know PID_B.
var ErrNoAddress = errors.New("the page must know an address of the server")

// ErrOwnAddress is the error of a Plan with Algorithm 1, without a random port.
var ErrOwnAddress = errors.New("with Algorithm 1, a client must know its own address, and a page does not")

// sealedPlan is a plan as the script reads it. Addresses are hex; those for people are text.
type sealedPlan struct {
	ID               string    `json:"id"`
	Secret           string    `json:"secret"`
	Algorithm        uint8     `json:"algorithm"`
	Random           bool      `json:"random"`
	Close            bool      `json:"close"`
	Hop              string    `json:"hop"` // empty: requests do not age
	Kinds            []int     `json:"kinds"`
	Server4          string    `json:"server4"`
	Server6          string    `json:"server6"`
	ServerConnection string    `json:"serverConnection"`
	Addresses        [3]string `json:"addresses"` // by kind
	Service          string    `json:"service"`
	Host             string    `json:"host"`
	Port             uint16    `json:"port"`
	UDP              bool      `json:"udp"`
	Scheme           string    `json:"scheme"`
	URL              string    `json:"url"` // that the page tries; empty: none
	OpenFor          int64     `json:"openFor"`
	Cut              bool      `json:"cut"`
	Anyone           bool      `json:"anyone"`
	Uses             int       `json:"uses"`
	Expires          int64     `json:"expires"` // seconds since 1970; 0: never
}

// encode returns the plan for the script, and the origins that it tries. The host is
// that of the URL.
func (p Plan) encode(host string) (plain []byte, reach []string, err error) {
	if _, err := exchange.NewOperation(p.ID, p.Secret, p.Algorithm, p.RandomPort); err != nil {
		return nil, nil, err
	}
	s := sealedPlan{
		ID: p.ID, Secret: p.Secret, Algorithm: uint8(p.Algorithm), Random: p.RandomPort, Close: p.Close,
		ServerConnection: hex.EncodeToString(carrier.ServerOf(carrier.HTTP, host).AsSlice()),
		Service:          p.Service, Host: p.Host, Port: p.Port, UDP: p.UDP, Scheme: p.Scheme,
		OpenFor: int64(p.OpenFor / time.Second), Cut: p.Cut, Anyone: p.Anyone, Uses: p.Uses,
	}
	if p.Hop != nil {
		s.Hop = hex.EncodeToString(p.Hop[:])
	}
	if !p.Expires.IsZero() {
		s.Expires = p.Expires.Unix()
	}
	if p.Public4.IsValid() {
		s.Kinds, s.Server4 = append(s.Kinds, int(carrier.Request4)), hex.EncodeToString(p.Public4.AsSlice())
		s.Addresses[carrier.Request4] = p.Public4.String()
	}
	if p.Public6.IsValid() {
		s.Kinds, s.Server6 = append(s.Kinds, int(carrier.Request6)), hex.EncodeToString(p.Public6.AsSlice())
		s.Addresses[carrier.Request6] = p.Public6.String()
	}
	switch {
	case p.Algorithm == exchange.Unilateral && !p.RandomPort:
		return nil, nil, ErrOwnAddress
	case p.Algorithm == exchange.Unilateral:
		s.Kinds = []int{int(carrier.RequestConnection)}
	case s.Kinds == nil:
		return nil, nil, ErrNoAddress
	case p.Public4.IsValid() && !p.Public4.Is4() || p.Public6.IsValid() && !p.Public6.Is6():
		return nil, nil, errors.New("expected an address of each family, got another")
	}
	// Only https: browsers let no page of https send requests to http.
	if p.Scheme == "https" && p.Port != 0 && !p.RandomPort && !p.Close && validHost(p.Host) {
		s.URL = "https://" + net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))) + "/"
		reach = append(reach, "https://"+p.Host+":*") // the port stays under the lock
	}
	plain, err = json.Marshal(s)
	return plain, reach, err
}
