<?php
// Service providers are files that are read at every request, so that they can be registered while this runs.
foreach (glob(dirname(__DIR__) . '/sp/*.json') as $file) {
    $sp = json_decode(file_get_contents($file), true);
    foreach (\SimpleSAML\Metadata\SAMLParser::parseDescriptorsString($sp['metadata']) as $id => $parsed) {
        $described = $parsed->getMetadata20SP();
        if ($described !== null) {
            unset($described['entityDescriptor']);
            $metadata[$id] = $sp['options'] + $described;
        }
    }
}
