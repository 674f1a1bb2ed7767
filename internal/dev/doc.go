// Package dev runs a whole cluster in one process: five nodes, three keepers
// and the embedded broker, the very ones that run as processes of their own in
// production, over real TLS on loopback and with real stores. `dsvnode dev`
// uses it, and so do tests.
//
// One thing is weaker on purpose: so that a directory survives a restart of
// the one process, the keepers' shares lie on disk, in the folder
// insecure-dev-keepers, and every start says so. A cluster in memory
// (Options.Memory) writes no file at all: not for certificates, keys or
// configuration either.
package dev
