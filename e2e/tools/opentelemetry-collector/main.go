// An OpenTelemetry Collector that takes traces by OTLP and writes them to a file: upstream's own parts, and no others, because it is built on the
// machine that runs the tests.
//
//	opentelemetry-collector --config FILE
package main

import (
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry"
)

func main() {
	parts := func() (otelcol.Factories, error) {
		in, out := otlpreceiver.NewFactory(), fileexporter.NewFactory()
		return otelcol.Factories{
			Receivers: map[component.Type]receiver.Factory{in.Type(): in},
			Exporters: map[component.Type]exporter.Factory{out.Type(): out},
			// It says nothing of itself: what it takes to say that is half of a collector.
			Telemetry: telemetry.NewFactory(func() component.Config { return &struct{}{} }),
		}, nil
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		Factories: parts,
		BuildInfo: component.NewDefaultBuildInfo(),
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
				DefaultScheme:     "file",
			},
		},
	})
	if command.Execute() != nil {
		os.Exit(1)
	}
}
