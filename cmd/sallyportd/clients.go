package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/cmd/internal/secretfile"
	"sallyport/verify/wire"
)

// registered is a line of the clients file.
type registered struct {
	identifier wire.Identifier
	secret     []byte
	mark       uint32 // the largest nonce already used; 0: none
}

// loadClients reads the clients file, which only its owner may read.
func loadClients(path string) ([]registered, error) {
	f, err := secretfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	return parseClients(path, f)
}

// parseClients reads lines of identifier, secret and largest nonce used,
// divided by white space (paper, Listing 4). Empty lines, and lines that
// begin with #, do not count. An error names the line and never repeats what
// it holds: it may be a secret in the wrong place. A line with more columns is
// refused: a later form may restrict its client there.
func parseClients(path string, r io.Reader) ([]registered, error) {
	var clients []registered
	lineOf := map[wire.Identifier]int{}
	scanner := bufio.NewScanner(r)
	line := 0
	for scanner.Scan() {
		line++
		text := scanner.Text()
		fail := func(format string, args ...any) ([]registered, error) {
			return nil, fmt.Errorf("%s:%d: %s", path, line, fmt.Sprintf(format, args...))
		}
		fields := strings.Fields(text)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return fail("expected identifier, secret and nonce, divided by spaces; got %d columns", len(fields))
		}
		if !utf8.ValidString(text) {
			return fail("expected UTF-8 text")
		}
		id, err := wire.ParseIdentifier(fields[0])
		if err != nil {
			return fail("%v", err)
		}
		if first, ok := lineOf[id]; ok {
			return fail("identifier %s stands in line %d already; expected each one once", id, first)
		}
		mark, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return fail("expected a nonce from 0 to 4294967295 in the third column")
		}
		lineOf[id] = line
		clients = append(clients, registered{id, []byte(fields[1]), uint32(mark)})
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, line+1, err)
	}
	return clients, nil
}
