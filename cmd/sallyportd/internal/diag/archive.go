package diag

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"
)

// Part is a file of the archive.
type Part struct {
	Name  string // of the file
	About string // what it has, in words
	Text  string // incomplete or empty if Err is set
	Err   error  // why it is missing, or incomplete
	// Fixed: the text has figures and names of the kernel or of the code only, and no value
	// that a person has typed.
	Fixed bool
}

// Missing is a part that is missing or incomplete.
type Missing struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

// maxPart bounds a part, in bytes: the log tail of a server is smaller, its leases may not
// be.
const maxPart = 8 << 20

// Write writes the parts as a compressed archive, with a file README.txt that lists them.
// It returns the parts that are missing or incomplete. Their reasons are scrubbed too.
func Write(w io.Writer, now time.Time, s *Scrubber, parts []Part) ([]Missing, error) {
	now = now.UTC().Truncate(time.Second)
	dir := "sallyport-diag-" + now.Format("20060102T150405Z") + "/"
	for _, p := range parts {
		s.Learn(p.Text)
	}
	missing := []Missing{}
	index := about
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	add := func(name, text string) error {
		header := &tar.Header{Name: dir + name, Mode: 0o600, Size: int64(len(text)), ModTime: now, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(archive, text)
		return err
	}
	for _, p := range parts {
		text := s.Scrub(p.Text)
		if !p.Fixed {
			text = strict(text)
		}
		if len(text) > maxPart {
			text = text[:maxPart] + "\n"
			p.Err = fmt.Errorf("cut after %d bytes", maxPart)
		}
		if p.Err != nil {
			why := strict(s.Scrub(p.Err.Error()))
			missing = append(missing, Missing{p.Name, why})
			text = strings.TrimLeft(text+"\nmissing or incomplete: "+why+"\n", "\n")
		}
		index += fmt.Sprintf("%-20s %s\n", p.Name, p.About)
		if err := add(p.Name, text); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		index += "\nMissing or incomplete:\n"
		for _, m := range missing {
			index += fmt.Sprintf("%-20s %s\n", m.Part, m.Reason)
		}
	}
	if err := add("README.txt", index); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return missing, zip.Close()
}

// about is the begin of the archive's README.txt.
const about = `An archive of "sallyportd diag", for a bug report about Sallyport.

It has no secret, and no file with secrets. Clients, operations and addresses of the
Internet have pseudonyms (client-1, operation-1, ipv4-1), the same in all files of this
archive. Host names, arguments of programs and their environment are left out. Names of
services, paths, ports, private addresses and times are as they are.

`
