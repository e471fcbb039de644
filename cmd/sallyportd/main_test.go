package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/cmd/internal/clitest"
)

func TestMain(m *testing.M) {
	faultfs.Main()
	netns.ContainerMain()
	testscript.Main(tests{m}, map[string]func(){"sallyportd": steppedMain, "site": serveSite, withoutBPFName: execWithoutBPF})
}

type tests struct{ m *testing.M }

func (t tests) Run() int {
	race.Children()
	netns.Together(8) // scripts and tests in namespaces mostly wait
	return t.m.Run()
}

func TestScripts(t *testing.T) { clitest.Run(t, "testdata/script/*.txtar", nil) }

func TestInitCost(t *testing.T) { clitest.InitCost(t, "sallyportd") }
