// Package legacy converts the files of the protocol's first implementation (paper,
// Listings 1 to 4) into our files. It reads, and writes nothing.
package legacy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"sallyport/cmd/internal/hint"
)

// File is a file to write. Name has no directory.
type File struct{ Name, Text string }

// Read reads the files in dir and returns our files for the directory out, with
// warnings for their owner. The server starts the program, if one is named. The
// warnings are valid for an error, too: a mistyped key may be its cause.
func Read(dir, out string, program Program) (files []File, warnings []string, err error) {
	im := importer{dir: dir, out: out, program: program}
	files, err = im.read()
	return files, im.warnings, err
}

// importer reads one directory of the first implementation.
type importer struct {
	dir, out string
	program  Program
	warnings []string
}

// warn adds a warning, once.
func (im *importer) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(im.warnings, text) {
		im.warnings = append(im.warnings, text)
	}
}

// read returns the converted files.
func (im *importer) read() (files []File, err error) {
	const todo = "give the directory with the files of the first implementation"
	if err := im.program.check(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(im.dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, hint.With(fmt.Errorf("expected a directory, got %q", im.dir), todo)
	}
	server, err := im.open("server.properties",
		"bind-address", "port-secret", "ports", "trusted-clients-path", "open-timeout")
	if err != nil {
		return nil, err
	}
	clientFile, err := im.open("client.properties", clientKeys...)
	if err != nil {
		return nil, err
	}
	if server == nil && clientFile == nil {
		return nil, hint.With(fmt.Errorf("%s: expected server.properties or client.properties, found neither", im.dir), todo)
	}
	if server == nil && len(im.program.Args) > 0 {
		return nil, hint.With(fmt.Errorf("%s: expected server.properties with a PROGRAM, found only client.properties", im.dir),
			"leave PROGRAM out: a client starts no web server")
	}
	service, err := im.open("service.properties",
		"use-embedded-webserver", "service-bind", "service-port", "proxy-address", "proxy-port")
	if err != nil {
		return nil, err
	}
	var made serverFiles
	if server != nil {
		if made, err = im.server(server, service); err != nil {
			return nil, err
		}
	}
	if clientFile == nil {
		return made.files("")
	}
	p, err := im.client(clientFile, service)
	if err != nil {
		return nil, err
	}
	f, err := profileFile(clientFile.path, p)
	if err != nil {
		return nil, err
	}
	if server == nil {
		return []File{f}, nil
	}
	im.compare(p, made)
	if files, err = made.files(p.Server); err != nil {
		return nil, err
	}
	return append(files, f), nil
}
