package kafka

// PIDs are the process ids of the brokers that run.
func (c *Cluster) PIDs() (pids []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.state.Brokers {
		if b.PID > 0 {
			pids = append(pids, b.PID)
		}
	}
	return pids
}
