// Runs Gateway API's conformance test of WebSocket backends, HTTPRouteBackendProtocolWebSocket, on routes that Clew rendered.
//
//	conformance [-gateway-class CLASS] ROUTE MANIFESTS
//
// MANIFESTS is applied where the test would apply its own HTTPRoute, and ROUTE is the HTTPRoute in it that the test finds under the name
// of its own. The rest is upstream's: how objects are applied, what Gateway and route must say of themselves, the client, and its judgement.
// The base manifests of upstream's suite are not applied, because they are for a cluster with kubelets: what the test asks for by name, the
// Gateway and the Service, has to be there.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

func main() {
	testing.Init()
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "conformance [-gateway-class CLASS] ROUTE MANIFESTS")
		os.Exit(2)
	}
	all := func(_, _ string) (bool, error) { return true, nil }
	test := func(t *testing.T) { run(t, flag.Arg(0), flag.Arg(1)) }
	testing.Main(all, []testing.InternalTest{{Name: "Conformance", F: test}}, nil, nil)
}

func run(t *testing.T, route, manifests string) {
	test := tests.HTTPRouteBackendProtocolWebSocket
	rendered, err := os.ReadFile(manifests)
	if err != nil {
		t.Fatal(err)
	}
	options := conformance.DefaultOptions(t)
	direct, err := client.NewWithWatch(options.RestConfig, client.Options{Scheme: options.Client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	options.Client = renaming(direct, route)
	options.ManifestFS = []fs.FS{fstest.MapFS{test.Manifests[0]: {Data: rendered}}}
	options.RunTest = test.ShortName
	options.SupportedFeatures = test.Features
	parts, err := suite.NewConformanceTestSuite(options)
	if err != nil {
		t.Fatal(err)
	}
	parts.ControllerName = kubernetes.GWCMustHaveAcceptedConditionTrue(t, parts.Client, parts.TimeoutConfig, parts.GatewayClassName)
	parts.Applier.ManifestFS = parts.ManifestFS
	parts.Applier.GatewayClass = parts.GatewayClassName
	parts.Applier.ControllerName = parts.ControllerName
	t.Run(test.ShortName, func(t *testing.T) { test.Run(t, parts) })
}

// A client for which the rendered route has the name of the test's own.
func renaming(direct client.WithWatch, route string) client.Client {
	get := func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
		if _, isRoute := into.(*gatewayv1.HTTPRoute); isRoute && key.Name == "backend-protocol-ws" {
			key.Name = route
		}
		return c.Get(ctx, key, into, options...)
	}
	return interceptor.NewClient(direct, interceptor.Funcs{Get: get})
}
