package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
)

// archive is a file with the client for Windows or macOS.
type archive struct{ system, arch, name string }

// archive makes the client's zip for Windows, or tarball for macOS. A tarball has the
// manual pages and completions, too.
func (r release) archive(system, arch string) (archive, error) {
	a := archive{system: system, arch: arch}
	var text []byte
	var err error
	switch system {
	case "windows":
		a.name = fmt.Sprintf("sallyport_%s_windows_%s.zip", r.version, arch)
		text, err = r.zip(r.program(system, arch, "sallyport.exe"))
	case "darwin":
		a.name = fmt.Sprintf("sallyport_%s_macos_%s.tar.gz", r.version, arch)
		text, err = r.tarball(r.program(system, arch, "sallyport"))
	default:
		err = fmt.Errorf("there is no archive for this system")
	}
	if err != nil {
		return a, err
	}
	return a, os.WriteFile(filepath.Join(r.out, a.name), text, 0o644)
}

func (r release) zip(program string) ([]byte, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "sallyport.exe", Method: zip.Deflate, Modified: r.date})
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func (r release) tarball(program string) ([]byte, error) {
	pages, err := r.pages("sallyport")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	compressed, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	w := tar.NewWriter(compressed)
	add := func(from, to string, mode int64) error {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: to, Mode: mode, Size: int64(len(text)), ModTime: r.date, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	if err := add(program, "sallyport", 0o755); err != nil {
		return nil, err
	}
	for _, page := range pages {
		if err := add(page, "man1/"+filepath.Base(page), 0o644); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"bash/sallyport", "zsh/_sallyport", "fish/sallyport.fish"} {
		if err := add(filepath.Join(r.stage, "completions", name), "completions/"+name, 0o644); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = compressed.Close()
	return out.Bytes(), err
}
