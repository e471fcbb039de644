package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/cmd/internal/clitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"floodbench": main})
}

func TestScripts(t *testing.T) { clitest.Run(t, "testdata/script/*.txtar", nil) }
