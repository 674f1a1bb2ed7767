// Package integration tests the whole house as real processes: five nodes,
// three keepers and a log, on real disks, with real TLS, killed and paused with
// real signals. The same tests run on the embedded broker and, with the
// variable DSV_TEST_KAFKA set, on a real Apache Kafka.
//
// Two clusters are shared by all tests of a run. A test that breaks something
// leaves it broken: the next one that asks for the cluster has it mended first
// (see shared and quiet). Each test has namespaces of its own.
//
// No test sleeps: each waits for a condition with a limit.
package integration
