package sandbox

import (
	"os"
	"path/filepath"
	"slices"
)

// journalDir is the directory of logsink.DefaultJournal.
const journalDir = "/run/systemd/journal"

// systemTrees are read by the Go runtime, by the resolver of names, and by the server
// itself. /etc is one of them: resolv.conf, hosts and passwd are replaced by a rename, after
// which a rule for the file alone would not hold for the new one.
var systemTrees = []string{
	"/etc", "/proc", "/sys",
	"/usr/share/zoneinfo", "/usr/lib/zoneinfo",
	"/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/etc/ssl/certs", "/etc/pki/tls/certs", // which can be links
	"/usr/share/mime", "/usr/local/share/mime",
}

// systemLinks are files of /etc that can be links to files elsewhere.
var systemLinks = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/services", "/etc/protocols",
	"/etc/localtime", "/etc/mime.types",
	// Where crypto/x509 looks for the authorities of the system.
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// devices are single files.
var devices = []string{"/dev/null", "/dev/urandom", "/dev/random"}

// withSystem adds the files of the system.
func (f Files) withSystem() Files {
	f.Trees = slices.Concat(f.Trees, systemTrees, filepath.SplitList(os.Getenv("SSL_CERT_DIR")))
	f.Read = slices.Concat(f.Read, systemLinks, []string{os.Getenv("SSL_CERT_FILE")})
	return f
}

// systemSockets are directories with sockets of the system: of the log, and of the service
// manager, which stay when these programs start again.
func systemSockets() []string {
	list := []string{journalDir}
	if manager := os.Getenv("NOTIFY_SOCKET"); filepath.IsAbs(manager) {
		list = append(list, filepath.Dir(manager))
	}
	return list
}

// abstractManager reports whether the service manager has a socket without a file.
func abstractManager() bool {
	manager := os.Getenv("NOTIFY_SOCKET")
	return manager != "" && !filepath.IsAbs(manager)
}
