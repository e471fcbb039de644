package profilefile

import (
	"encoding/hex"
	"net/netip"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// FileChallenge is the [challenge] table of a profile's file.
type FileChallenge struct {
	Operation string `toml:"operation" json:"operation" expect:"the operation's public name, 5 to 16 bytes in quotes"`
	Secret    string `toml:"secret,omitempty" json:"secret,omitempty" expect:"the operation's secret, as text in quotes"`
	// HostKey and PublicKeys are those of the server, for an operation with public keys.
	HostKey     string   `toml:"host_key,omitempty" json:"host_key,omitempty" expect:"the public host key of the server, for an operation with public keys, such as \"sallyport-host-key-1:…\""`
	PublicKeys  []string `toml:"public_keys,omitempty" json:"public_keys,omitempty" expect:"with host_key, a list of 1 to 16 public keys in quotes that the server knows, such as [\"ssh-ed25519 AAAA…\"], all of one type"`
	Key         string   `toml:"key,omitempty" json:"key,omitempty" expect:"with host_key, the path of the private key, absolute or with ~/ at the beginning; or agent instead"`
	Agent       bool     `toml:"agent,omitempty" json:"agent,omitempty" expect:"with host_key, true if the SSH agent has the private key; or key instead"`
	Algorithm   int      `toml:"algorithm" json:"algorithm" expect:"1, 2 or 3"`
	RandomPort  bool     `toml:"random_port,omitempty" json:"random_port,omitempty" expect:"true or false"`
	Service     string   `toml:"service,omitempty" json:"service,omitempty" expect:"host:port or :port of the service to watch, with /udp behind it for a UDP service"`
	Bind        string   `toml:"bind,omitempty" json:"bind,omitempty" expect:"\"isn\" or \"connection\", for a TCP service"`
	ServiceName string   `toml:"service_name,omitempty" json:"service_name,omitempty" expect:"with bind = \"connection\", the name of the service in the server's configuration, 1 to 255 bytes"`
	OpenFor     string   `toml:"open_for,omitempty" json:"open_for,omitempty" expect:"how long the operation opens, a duration such as \"30s\", from 1s to 1000h"`
	Handshake   string   `toml:"handshake,omitempty" json:"handshake,omitempty" expect:"\"granted\", for a TCP service"`
	// SharedPorts is that of the server's configuration.
	SharedPorts bool `toml:"shared_ports,omitempty" json:"shared_ports,omitempty" expect:"true or false"`
	// Hop is that of the server's configuration. HopSecret is derived from the port
	// secret, in hexadecimal digits.
	Hop        int    `toml:"hop,omitempty" json:"hop,omitempty" expect:"with hop_secret, from how many bases each minute draws, 2 to 32768"`
	HopSecret  string `toml:"hop_secret,omitempty" json:"hop_secret,omitempty" expect:"with hop, 64 hexadecimal digits in quotes"`
	Transport  string `toml:"transport,omitempty" json:"transport,omitempty" expect:"\"udp\" or \"tcp\""`
	AnswerPort int    `toml:"answer_port,omitempty" json:"answer_port,omitempty" expect:"with transport = \"tcp\", the server's TCP port for challenges, 1 to 65535"`
	// The carriers. Without request and response, there are no packets.
	HTTPS      string   `toml:"https,omitempty" json:"https,omitempty" expect:"the URL of the web server that takes exchanges, such as \"https://www.example.org\""`
	DNS        string   `toml:"dns,omitempty" json:"dns,omitempty" expect:"the DNS zone whose servers take exchanges, such as \"k.example.org\""`
	DNSServers []string `toml:"dns_servers,omitempty" json:"dns_servers,omitempty" expect:"with dns, a list of at most 8 names or addresses of the zone's servers, such as [\"ns1.example.org\"]"`
	Tunnel     bool     `toml:"tunnel,omitempty" json:"tunnel,omitempty" expect:"with https, true or false"`
	Request    Encoding `toml:"request,omitempty" json:"request,omitzero" expect:"a table with an encoding"`
	Response   Encoding `toml:"response,omitempty" json:"response,omitzero" expect:"a table with an encoding"`
}

// DefaultAlgorithm is the algorithm of a profile without the key.
const DefaultAlgorithm = exchange.NATAware

// parse checks the [challenge] table.
func (raw FileChallenge) parse(f Source, held bool) (*client.Challenge, error) {
	algorithm := DefaultAlgorithm
	if f.Has("challenge.algorithm") {
		algorithm = exchange.Algorithm(raw.Algorithm)
		if raw.Algorithm < 1 || raw.Algorithm > 3 {
			return nil, f.Errorf("challenge.algorithm", "got %d", raw.Algorithm)
		}
	}
	if n := len(raw.Operation); n < exchange.MinID || n > exchange.MaxID {
		return nil, f.Errorf("challenge.operation", "got %d bytes", n)
	}
	if raw.Signed() {
		if algorithm = exchange.Mutual; f.Has("challenge.algorithm") && raw.Algorithm != int(algorithm) {
			return nil, f.Errorf("challenge.algorithm", "got %d; an operation with public keys has Algorithm 3", raw.Algorithm)
		}
	} else if err := requireSecret(f, "challenge.secret", raw.Secret, held); err != nil {
		return nil, err
	}
	if fault := SecretFault(raw.Secret); fault != "" {
		return nil, f.Errorf("challenge.secret", "got %s", fault)
	}
	for _, key := range []string{"challenge.public_keys", "challenge.key", "challenge.agent"} {
		if f.Has(key) && !raw.Signed() {
			return nil, f.Errorf(key, "got it without host_key")
		}
	}
	c := &client.Challenge{Service: raw.Service, ServiceName: raw.ServiceName, SharedPorts: raw.SharedPorts}
	var err error
	if c.AnswerPort, err = raw.answerPort(f); err != nil {
		return nil, err
	}
	if c.Hop, c.HopKey, err = raw.hop(f); err != nil {
		return nil, err
	}
	c.Operation, err = exchange.DescribeOperation(raw.Operation, algorithm, raw.RandomPort)
	if err == nil && raw.Signed() {
		if err := raw.publicKeys(f, c, held); err != nil {
			return nil, err
		}
	} else if err == nil && !held {
		c.Operation, err = c.Operation.WithSecret(raw.Secret)
	}
	if err != nil {
		return nil, f.Errorf("challenge.operation", "got an invalid operation: %v", err)
	}
	if f.Has("challenge.service") {
		if s, err := client.ParseService(raw.Service); err != nil || s.Rotates {
			return nil, f.Errorf("challenge.service", "got %q", raw.Service)
		}
	}
	if c.Bind, err = parseBind(f, "challenge.", raw.Bind, raw.Service, raw.ServiceName); err != nil {
		return nil, err
	}
	c.OpenFor, c.Handshake, err = parseOpening(f, "challenge.", raw.OpenFor, raw.Handshake, raw.Service)
	if err != nil {
		return nil, err
	}
	if err := raw.carriers(f, c); err != nil {
		return nil, err
	}
	carried := raw.HTTPS != "" || raw.DNS != ""
	if !carried || raw.Request != (Encoding{}) || raw.Response != (Encoding{}) {
		if c.Request, err = raw.Request.Parse(f, "challenge.request.", 0); err != nil {
			return nil, err
		}
		if c.Response, err = raw.Response.Parse(f, "challenge.response.", 0); err != nil {
			return nil, err
		}
	}
	if err := c.Check(); err != nil {
		return nil, withHint(f.Errorf("challenge", "got an invalid one: %v", err),
			"the encodings, shared_ports and hop must be those of the server: ask its administrator for a new profile (\"sallyportd operation profile "+raw.Operation+"\")")
	}
	return c, nil
}

// answerPort returns the port of challenges; 0: the transport is UDP.
func (raw FileChallenge) answerPort(f Source) (uint16, error) {
	switch tcp := raw.Transport == transportTCP; {
	case f.Has("challenge.transport") && !tcp && raw.Transport != "udp":
		return 0, f.Errorf("challenge.transport", "got %q", raw.Transport)
	case !tcp && f.Has("challenge.answer_port"):
		return 0, f.Errorf("challenge.answer_port", "got %d without transport = \"tcp\"", raw.AnswerPort)
	case tcp && (raw.AnswerPort < 1 || raw.AnswerPort > 65535):
		return 0, f.Errorf("challenge.answer_port", "got %d", raw.AnswerPort)
	}
	return uint16(raw.AnswerPort), nil
}

// carriers reads the keys of HTTPS and DNS.
func (raw FileChallenge) carriers(f Source, c *client.Challenge) error {
	if f.Has("challenge.https") {
		if _, err := carriers.ParseURL(raw.HTTPS); err != nil {
			return f.Errorf("challenge.https", "%v", err)
		}
	}
	if f.Has("challenge.dns") {
		if _, err := carriers.ParseZone(raw.DNS); err != nil {
			return f.Errorf("challenge.dns", "got %q", raw.DNS)
		}
	}
	if n := len(raw.DNSServers); n > carriers.MaxServers || raw.DNS == "" && f.Has("challenge.dns_servers") {
		return f.Errorf("challenge.dns_servers", "got %d, and the zone %q", n, raw.DNS)
	}
	for i, s := range raw.DNSServers {
		if _, _, err := carriers.ParseServer(s); err != nil {
			return f.Errorf("challenge.dns_servers", "got %q (entry %d)", s, i+1)
		}
	}
	if raw.Tunnel && raw.HTTPS == "" {
		return f.Errorf("challenge.tunnel", "got true without the key https")
	}
	c.HTTPS, c.DNS, c.DNSServers, c.Tunnel = raw.HTTPS, raw.DNS, raw.DNSServers, raw.Tunnel
	return nil
}

const transportTCP = "tcp"

// hop returns from how many bases each minute draws, and by which key; 0: the ports do
// not move.
func (raw FileChallenge) hop(f Source) (bases uint16, key schedule.HopKey, err error) {
	has := f.Has("challenge.hop")
	if !has && !f.Has("challenge.hop_secret") {
		return 0, key, nil
	}
	if !has || raw.Hop < 2 || raw.Hop > 32768 {
		return 0, key, f.Errorf("challenge.hop", "got %d", raw.Hop)
	}
	b, err := hex.DecodeString(raw.HopSecret)
	if err != nil || len(b) != len(key) {
		return 0, key, f.Errorf("challenge.hop_secret", "got %d characters", len(raw.HopSecret))
	}
	return uint16(raw.Hop), schedule.HopKey(b), nil
}

// Operation is the content of a profile that has the challenge–response protocol
// only.
type Operation struct {
	Server, ID, Secret string
	Addresses          []netip.Addr
	Gateways           []client.Gateway // in place of the server: exchanges are split over them
	Algorithm          exchange.Algorithm
	RandomPort         bool
	Service            string
	Bind               client.Bind
	ServiceName        string        // with client.BindConnection
	OpenFor            time.Duration // 0: unknown, or without an end
	Handshake          client.Handshake
	Request, Response  challenge.Encoding
	SharedPorts        bool
	Hop                uint16 // 0: the ports do not move
	HopKey             schedule.HopKey
	AnswerPort         uint16 // with transport = "tcp"; 0: UDP
	// HTTPS, DNS, DNSServers and Tunnel are as in client.Challenge. Without packets,
	// Request and Response are zero.
	HTTPS, DNS string
	DNSServers []string
	Tunnel     bool
	// Of an operation with public keys: the host key; the private key is in the SSH agent.
	HostKey    exchange.HostPublic
	PublicKeys []exchange.PublicKey
}

func (o Operation) file() *FileChallenge {
	transport := ""
	if o.AnswerPort != 0 {
		transport = transportTCP
	}
	hopSecret := ""
	if o.Hop != 0 {
		hopSecret = hex.EncodeToString(o.HopKey[:])
	}
	hostKey, publicKeys := "", []string(nil)
	if o.HostKey != (exchange.HostPublic{}) {
		hostKey = o.HostKey.String()
		for _, k := range o.PublicKeys {
			publicKeys = append(publicKeys, k.String())
		}
	}
	return &FileChallenge{
		HostKey: hostKey, PublicKeys: publicKeys, Agent: hostKey != "",
		Hop: int(o.Hop), HopSecret: hopSecret,
		Transport: transport, AnswerPort: int(o.AnswerPort),
		Operation: o.ID, Secret: o.Secret, Algorithm: int(o.Algorithm), RandomPort: o.RandomPort, Service: o.Service,
		Bind: string(o.Bind), ServiceName: o.ServiceName, OpenFor: openForText(o.OpenFor), Handshake: string(o.Handshake), SharedPorts: o.SharedPorts,
		HTTPS: o.HTTPS, DNS: o.DNS, DNSServers: o.DNSServers, Tunnel: o.Tunnel,
		Request: encodingOf(o.Request), Response: encodingOf(o.Response),
	}
}

// challengeOnly returns a profile without the sequence protocol.
func (raw File) challengeOnly(f Source, c *client.Challenge, gateways []client.Gateway) (client.Profile, error) {
	if gateways == nil && !client.ValidHost(raw.Server) {
		return client.Profile{}, f.Errorf("server", "got %q", raw.Server)
	}
	for _, key := range []string{"generator", "nonce", "service", "bind", "open_for", "handshake", "expires", "rotate"} {
		if f.Has(key) {
			return client.Profile{}, f.Errorf(key,
				"got it without the other keys of the sequence protocol; "+
					"for [challenge], use the keys in that table")
		}
	}
	addresses, err := raw.addresses(f)
	if err != nil {
		return client.Profile{}, err
	}
	w, err := raw.watch(f)
	return client.Profile{Server: raw.Server, Addresses: addresses, Watch: w, Challenge: c, Gateways: gateways, Split: raw.Split}, err
}
