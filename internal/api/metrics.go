package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of the API. Labels are routes, methods and codes, never a name.
type metrics struct {
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	handler  http.Handler
}

func newMetrics(reg *prometheus.Registry, inFlight *atomic.Int64) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dsv_http_request_duration_seconds",
			Help:    "Time from a request's headers to its answer.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"route", "method", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dsv_http_refused_total",
			Help: "Requests refused before they reached the vault, by reason.",
		}, []string{"reason"}),
		handler: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dsv_http_in_flight",
		Help: "Requests being answered.",
	}, func() float64 { return float64(inFlight.Load()) })
	for _, c := range []prometheus.Collector{m.duration, m.refused, gauge} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(rt *Route, status int, took time.Duration) {
	m.duration.WithLabelValues(rt.Pattern, rt.Method, statusText(status)).Observe(took.Seconds())
}

// statusText is the status as a label, without an allocation for the usual.
func statusText(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	}
	return strconv.Itoa(status)
}
