// Package repair tests repair as a whole: through reads and writes of a cluster
// in a bubble, which the package's own floor may not see.
package repair
