package config

import (
	"time"

	"sallyport/sessions/client/profilefile"
)

// Each field of these structs declares a key of the configuration, by its tags:
//
//	toml      the name of the key
//	expect    the expected value, for errors
//	default   the value if the file does not set the key; "keep,web=cut": "cut"
//	          for services of type "web". Without the tag, there is no default
//	range     of numbers and durations: "1..128", "5s..60s", "..1000h"; with
//	          alternatives: "0|4096..268435456"
//	or        another allowed text, of a key with a range
//	oneof     the possible texts: "closed|clear"
//	required  the file must set the key
//	kinds     the types of services that have the key, and that must set it if it
//	          is required; without the tag, all
//	reload    "live": a reload applies a change; "restart": a change requires a
//	          restart; "holder": it requires one if a privileged holder runs,
//	          since the holder keeps the settings that it read; "firewall": it
//	          requires one if no holder runs
//
// The reload class and the defaults of a table are those of its keys.
// reference.toml explains each key.

// raw is the configuration file.
type raw struct {
	Version        int      `toml:"version" default:"1" range:"1" reload:"live" expect:"1, the version of this file format"`
	Server         string   `toml:"server" reload:"live" expect:"the host name or address by which clients reach this server"`
	Listen         []string `toml:"listen" reload:"restart" expect:"a list of IP addresses or host names in quotes, such as [\"0.0.0.0\", \"::\"]"`
	Ports          int      `toml:"ports" required:"yes" range:"1..128" reload:"live" expect:"the number of knocks, a whole number from 1 to 128"`
	Generator      string   `toml:"generator" default:"algorithm1" oneof:"algorithm1|java" reload:"live" expect:"\"algorithm1\" or \"java\""`
	PortSecret     string   `toml:"port_secret" reload:"live" expect:"the secret from which the ports are derived, as text in quotes; or port_secret_file instead"`
	PortSecretFile string   `toml:"port_secret_file" reload:"live" expect:"the path of a file with the port secret"`
	// The ports of the previous port secret stay open until a date.
	PortSecretPrevious      string       `toml:"port_secret_previous" reload:"live" expect:"the previous port secret, as text in quotes; or port_secret_previous_file instead"`
	PortSecretPreviousFile  string       `toml:"port_secret_previous_file" reload:"live" expect:"the path of a file with the previous port secret"`
	PortSecretPreviousUntil time.Time    `toml:"port_secret_previous_until" reload:"live" expect:"a time such as 2026-12-01T00:00:00Z, together with a previous port secret"`
	Clients                 string       `toml:"clients" required:"yes" reload:"restart" expect:"the path of the clients file, or \"fleet\""`
	ClientsSettle           string       `toml:"clients_settle" default:"5s" range:"100ms..1m" reload:"live" expect:"a duration from \"100ms\" to \"1m\""`
	ClockTolerance          string       `toml:"clock_tolerance" default:"60s" range:"5s..60s" reload:"live" expect:"a duration from \"5s\" to \"60s\" in whole seconds"`
	StateDir                string       `toml:"state_dir" default:"state" reload:"restart" expect:"the path of a directory"`
	Durability              string       `toml:"durability" default:"strict" oneof:"strict|relaxed" reload:"restart" expect:"\"strict\" or \"relaxed\""`
	ResumeLeases            bool         `toml:"resume_leases" default:"true" reload:"restart" expect:"true or false"`
	AdminSocket             string       `toml:"admin_socket" default:"sallyportd.sock" reload:"restart" expect:"the path of a socket for the administrator's commands"`
	MetricsListen           string       `toml:"metrics_listen" reload:"restart" expect:"an address of the loopback with a port in quotes, such as \"127.0.0.1:9464\""`
	FirewallSocket          string       `toml:"firewall_socket" default:"firewall.sock" reload:"restart" expect:"the path of the socket of \"sallyportd firewall hold\""`
	Readers                 int          `toml:"readers" default:"0" range:"0..64" reload:"restart" expect:"a whole number from 0 (one for each processor) to 64"`
	ReceiveBuffer           int          `toml:"receive_buffer" default:"1048576" range:"0|4096..268435456" reload:"restart" expect:"a number of bytes, 0 (the kernel's default) or 4096 to 268435456"`
	Queue                   int          `toml:"queue" default:"4096" range:"512..262144" reload:"restart" expect:"how many datagrams of each thread may wait for the checks, a whole number from 512 to 262144"`
	SelfTest                bool         `toml:"self_test" default:"true" reload:"restart" expect:"true or false"`
	KernelFilter            bool         `toml:"kernel_filter" default:"true" reload:"restart" expect:"true or false"`
	Shield                  string       `toml:"shield" default:"off" oneof:"off|xdp" reload:"restart" expect:"\"off\" or \"xdp\""`
	ShieldInterfaces        []string     `toml:"shield_interfaces" reload:"restart" expect:"a list of names of interfaces in quotes, such as [\"eth0\"], at most 64"`
	ShieldShares            bool         `toml:"shield_shares" default:"true" reload:"live" expect:"true or false"`
	ShieldMirror            bool         `toml:"shield_mirror" default:"false" reload:"live" expect:"true or false"`
	SecretFiles             string       `toml:"secret_files" default:"private" oneof:"private|shared" reload:"live" expect:"\"private\" or \"shared\""`
	User                    string       `toml:"user" reload:"restart" expect:"the name or number of the user to which the server switches when root starts it"`
	Stealth                 bool         `toml:"stealth" default:"false" reload:"firewall" expect:"true or false"`
	StealthExcept           []int        `toml:"stealth_except" range:"1025..65535" reload:"firewall" expect:"a list of UDP ports from 1025 to 65535"`
	OnExit                  string       `toml:"on_exit" default:"closed" oneof:"closed|clear" reload:"restart" expect:"\"closed\" or \"clear\""`
	LogLevel                string       `toml:"log_level" default:"info" oneof:"info|debug" reload:"live" expect:"\"info\" or \"debug\""`
	LogFormat               string       `toml:"log_format" default:"auto" oneof:"auto|text|json" reload:"restart" expect:"\"auto\", \"text\" or \"json\""`
	Service                 []rawService `toml:"service" reload:"live" expect:"a [[service]] table for each service, 1 to 64"`

	Fleet     rawFleet       `toml:"fleet" reload:"restart" expect:"a [fleet] table"`
	Challenge rawChallenge   `toml:"challenge" reload:"restart" expect:"a [challenge] table"`
	Operation []rawOperation `toml:"operation" reload:"live" expect:"an [[operation]] table for each operation, 1 to 256"`
}

// rawService is a [[service]]: the keys of all services, and those of the kinds.
type rawService struct {
	Name         string `toml:"name" required:"yes" reload:"restart" expect:"a name of letters, digits, dots, hyphens and underscores, in quotes"`
	Type         string `toml:"type" required:"yes" reload:"restart" expect:"\"web\", \"proxy\", \"firewall\", \"process\" or \"command\""`
	Protocol     string `toml:"protocol" kinds:"web,proxy,firewall,process" default:"tcp" oneof:"tcp|udp" reload:"restart" expect:"\"tcp\" or \"udp\"; a web server requires \"tcp\""`
	Listen       any    `toml:"listen" kinds:"web,proxy,firewall,process" required:"yes" reload:"restart" expect:"host:port or :port in quotes, such as \":22\", with an IP address as the host; for type \"firewall\" also a range such as \":60000-61000\", or a list"`
	OpenFor      string `toml:"open_for" default:"10s" range:"1s..1000h" reload:"live" expect:"a duration such as \"10s\", from 1s to 1000h"`
	OpenMax      string `toml:"open_max" default:"1m" range:"..1000h" reload:"holder" expect:"a duration such as \"1m\", not shorter than open_for, at most 1000h"`
	OpenTo       string `toml:"open_to" kinds:"web,proxy,firewall,process" default:"knocker" oneof:"knocker|anyone" reload:"holder" expect:"\"knocker\" or \"anyone\""`
	Connections  string `toml:"connections" kinds:"web,proxy,firewall,process" default:"keep,web=cut,process=cut" oneof:"keep|cut" reload:"holder" expect:"\"keep\" or \"cut\""`
	MaxAddresses int    `toml:"max_addresses" default:"8" range:"1..1024" reload:"live" expect:"how many addresses a client may hold leases for, a whole number from 1 to 1024"`
	GrantPrefix4 int    `toml:"grant_prefix4" default:"32" range:"16..32" reload:"restart" expect:"how many bits of an IPv4 address a lease covers, a whole number from 16 to 32"`
	GrantPrefix6 int    `toml:"grant_prefix6" default:"128" range:"128|64" reload:"restart" expect:"128 or 64"`
	Spread       string `toml:"spread" default:"local" oneof:"local|all" reload:"restart" expect:"\"local\" or \"all\""`

	Gateways []string `toml:"gateways" reload:"restart" expect:"a list of names of [fleet] gateways in quotes that have the service, such as [\"gateway1\"]; it requires spread = \"all\""`

	rawRotate
	rawListener
	rawWeb
	rawProxy
	rawFirewall
	rawProcess
	rawPrograms
}

// rawChallenge is the [challenge] table.
type rawChallenge struct {
	Ports         string               `toml:"ports" default:"16384-30719" expect:"a range of ports in quotes, such as \"16384-30719\""`
	Capture       string               `toml:"capture" default:"packet" oneof:"packet|sockets|none" expect:"\"packet\", \"sockets\" or \"none\""`
	SharedPorts   bool                 `toml:"shared_ports" default:"false" expect:"true or false"`
	Hop           int                  `toml:"hop" default:"0" range:"0..32768" expect:"0, or a number of bases to draw from, up to 32768"`
	Transport     string               `toml:"transport" default:"udp" oneof:"udp|tcp" expect:"\"udp\" or \"tcp\""`
	AnswerPort    int                  `toml:"answer_port" default:"30720" range:"1..65535" expect:"a TCP port, from 1 to 65535, that is neither one of ports nor a service's"`
	AnswerLook    string               `toml:"answer_look" default:"closed" oneof:"filtered|closed" expect:"\"filtered\" or \"closed\""`
	PublicAddress []string             `toml:"public_address" expect:"a list of the addresses by which clients reach this host, at most one of IPv4 and one of IPv6"`
	HostKeyFile   string               `toml:"host_key_file" reload:"live" expect:"the path of a file with the host key, which sallyportd host-key create makes"`
	Exchanges     int                  `toml:"exchanges" default:"16384" range:"8..1048576" expect:"how many exchanges can be in progress, a whole number from 8 to 1048576"`
	Rate          int                  `toml:"challenges_per_second" default:"20000" range:"1..1000000" expect:"a whole number from 1 to 1000000"`
	Request       profilefile.Encoding `toml:"request" default:"scheme=ranges,data_bits=8" expect:"a table with an encoding"`
	Response      profilefile.Encoding `toml:"response" default:"scheme=ranges,data_bits=8" expect:"a table with an encoding"`
	HTTP          []rawHTTP            `toml:"http" expect:"a [[challenge.http]] table for each listener, at most 16"`
	DNS           rawDNS               `toml:"dns" expect:"a [challenge.dns] table"`
}

// rawHTTP is a [[challenge.http]] table.
type rawHTTP struct {
	Listen         string   `toml:"listen" required:"yes" expect:"host:port or :port in quotes, such as \":443\", with an IP address as the host"`
	Host           string   `toml:"host" required:"yes" expect:"the host name of the URL that clients use, such as \"www.example.org\", without a port"`
	TLSCert        string   `toml:"tls_cert" reload:"live" expect:"the path of a PEM file with a certificate and its chain, together with tls_key"`
	TLSKey         string   `toml:"tls_key" reload:"live" expect:"the path of a PEM file with the certificate's key, together with tls_cert"`
	Root           string   `toml:"root" reload:"live" expect:"the path of a directory"`
	Upstream       string   `toml:"upstream" reload:"live" expect:"the URL of a web server, such as \"http://127.0.0.1:8080\", without a path"`
	Pages          string   `toml:"pages" reload:"live" expect:"the path of a directory with pages of operation page --serve"`
	Unproved       int      `toml:"unproved" range:"400..599" reload:"restart" expect:"a status from 400 to 599, which the web server before this one replaces by its own answer"`
	TrustedProxies []string `toml:"trusted_proxies" expect:"a list of networks in quotes, such as [\"127.0.0.1/32\"]"`
	ProxyHeader    string   `toml:"proxy_header" default:"X-Forwarded-For" oneof:"X-Forwarded-For|Forwarded" expect:"\"X-Forwarded-For\" or \"Forwarded\""`
	ProxyUser      string   `toml:"proxy_user" expect:"the name or number of the user that the proxies on this host run as, not root"`
	Tunnel         bool     `toml:"tunnel" default:"false" reload:"restart" expect:"true or false"`
	Connections    int      `toml:"connections" default:"1024" range:"1..65536" expect:"how many connections are open at a time, a whole number from 1 to 65536"`
}

// rawDNS is the [challenge.dns] table.
type rawDNS struct {
	Listen        string   `toml:"listen" expect:"host:port or :port in quotes, such as \":53\", with an IP address as the host"`
	Zone          string   `toml:"zone" expect:"the name of a zone that is delegated to this host, such as \"k.example.org\""`
	Servers       []string `toml:"servers" expect:"a list of the names of the zone's servers, outside of the zone, such as [\"ns1.example.org\"]"`
	Amplification int      `toml:"amplification" default:"3" range:"1..64" expect:"how many times as long as a query an answer over UDP may be, a whole number from 1 to 64"`
	Answers       int      `toml:"answers_per_second" default:"1000" range:"1..1000000" expect:"a whole number from 1 to 1000000"`
}

// rawOperation is an [[operation]] table.
type rawOperation struct {
	ID         string   `toml:"id" required:"yes" expect:"a public name of 5 to 16 bytes, in quotes"`
	Secret     string   `toml:"secret" expect:"the operation's secret, as text in quotes; or secret_file instead"`
	SecretFile string   `toml:"secret_file" expect:"the path of a file with the operation's secret"`
	Keys       []string `toml:"keys" expect:"a list of 1 to 16 public keys in quotes, such as [\"ssh-ed25519 AAAA…\"], all of one type"`
	KeysFile   string   `toml:"keys_file" expect:"the path of a file with public keys, as authorized_keys"`
	Algorithm  int      `toml:"algorithm" default:"2" range:"1..3" expect:"1, 2 or 3"`
	Service    string   `toml:"service" expect:"the name of a service"`
	Action     string   `toml:"action" default:"open" oneof:"open|close" expect:"\"open\" or \"close\""`
	OpenFor    string   `toml:"open_for" range:"1s.." or:"until-closed" expect:"a duration such as \"30s\", from 1s, and not longer than the service's open_max; or \"until-closed\""`
	Port       string   `toml:"port" default:"service" oneof:"service|random" expect:"\"service\" or \"random\""`
	Client     string   `toml:"client" expect:"the identifier of a client in the clients file"`
	Uses       int      `toml:"uses" range:"1..1000000" expect:"how often it may be used, a whole number from 1 to 1000000"`
	From       []string `toml:"from" expect:"a list of networks in quotes, such as [\"192.0.2.0/24\", \"2001:db8::/32\"]"`
}
